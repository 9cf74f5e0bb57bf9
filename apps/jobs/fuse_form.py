"""The form that fuses versions: which of them, and how."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext_lazy

from apps.accounts.models import Team, User
from apps.datasets.models import DatasetVersion
from apps.jobs.fusing import methods_for
from apps.jobs.models import Job
from apps.jobs.setting_fields import one_of
from apps.registry.figures import headline
from apps.registry.models import ModelVersion
from workers.contract import ENSEMBLE, GREEDY, UNIFORM, WEIGHTED


@dataclass(frozen=True)
class MethodChoice:
    """One way to fuse, in a line."""

    name: str
    label: Any
    icon: str
    help: Any


METHOD_CHOICES = {
    choice.name: choice
    for choice in (
        MethodChoice(
            GREEDY,
            gettext_lazy("Greedy soup"),
            "ti-soup",
            gettext_lazy("From the best on, a version's weights are mixed in where validation does not get worse."),
        ),
        MethodChoice(
            UNIFORM,
            gettext_lazy("Uniform"),
            "ti-equal",
            gettext_lazy("The plain mean of all weights. As small and as fast as one of them."),
        ),
        MethodChoice(
            WEIGHTED,
            gettext_lazy("Weighted"),
            "ti-scale",
            gettext_lazy("The mean of all weights, where a version counts more the better it does on validation."),
        ),
        MethodChoice(
            ENSEMBLE,
            gettext_lazy("Ensemble"),
            "ti-users-group",
            gettext_lazy("All answer, and the mean of their answers counts. As large and as slow as all together."),
        ),
    )
}
MOST_CANDIDATES = 40


class FuseForm(forms.Form):
    """Versions that go with `start`, the newest first and those of its model in front, and how to fuse them."""

    version = forms.TypedMultipleChoiceField(coerce=int, required=False)
    method = forms.ChoiceField()
    model_name = forms.CharField(
        label=gettext_lazy("Model"),
        max_length=80,
        help_text=gettext_lazy("Where it is better than each of them it becomes the next version of this model."),
    )

    def __init__(self, *, start: ModelVersion, values: QueryDict, is_submitted: bool) -> None:
        self.start = start
        self.versions = self._candidates()
        self.methods = [METHOD_CHOICES[name] for name in methods_for(start.model.task)]
        sent = values.getlist("version")
        self.chosen = [version for version in self.versions if str(version.pk) in sent]
        usual = {"method": self.methods[0].name, "model_name": start.model.name}
        data = {name: values.get(name, usual[name]) for name in usual} | {"version": sent}
        super().__init__(data)
        self.fields["version"].choices = [(version.pk, str(version)) for version in self.versions]
        self.fields["method"].choices = [(choice.name, choice.label) for choice in self.methods]
        if not is_submitted:
            self.full_clean()
            self._errors.clear()

    def _candidates(self) -> list[ModelVersion]:
        start = self.start
        known = ModelVersion.objects.filter(model__team=start.model.team_id, model__task=start.model.task)
        same = {name: start.meta[name] for name in ("classes", "target") if name in start.meta}
        known = known.exclude(meta__has_key="compression").filter(**{f"meta__{name}": same[name] for name in same})
        found = list(known.select_related("model").order_by("-created_at")[:MOST_CANDIDATES])
        for version in found:
            version.headline = headline(version.metrics)
        return sorted(found, key=lambda version: (version.model_id != start.model_id, -version.created_at.timestamp()))

    @property
    def method_name(self) -> str:
        """The method that is chosen now; one that does not exist counts as the first."""
        names = [choice.name for choice in self.methods]
        return one_of(self["method"].value(), names, names[0])

    def draft(self, team: Team, user: User) -> Job:
        """The job as it would be queued now, not saved."""
        return Job(
            team=team,
            created_by=user,
            kind=Job.Kind.FUSE,
            dataset_version=DatasetVersion.objects.filter(
                dataset__team=team, pk=self.start.lineage.get("dataset_version_id")
            ).first(),
            parts=[{"id": version.pk, "name": str(version)} for version in self.chosen],
            task=self.start.model.task,
            method=self.method_name,
            model_name=self.start.model.name,
        )
