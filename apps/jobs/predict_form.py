"""The form of a prediction: a data set that the model can be asked about, or a file."""

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Team, User
from apps.datasets.forms import UploadsForm
from apps.datasets.models import DatasetVersion
from apps.jobs.models import Job
from apps.jobs.predicting import MOST_TOP, data_to_ask, draft_fields, rankings_of
from apps.registry.models import ModelVersion
from workers.contract import SPLITS

DATASET, FILE = "dataset", "file"
USUAL_TOP = 20  # per cent
SPLIT_WORDS = {"train": gettext_lazy("train"), "val": gettext_lazy("validation"), "test": gettext_lazy("test")}


class PredictForm(UploadsForm):
    """`source` is what is asked about: DATASET where the team has one that fits, unless a person chooses FILE."""

    dataset_version = forms.TypedChoiceField(label=gettext_lazy("Data set"), coerce=int, required=False)
    split = forms.ChoiceField(
        label=gettext_lazy("Which part"),
        required=False,
        help_text=gettext_lazy("The model has learned from the train split; how good it is shows on test."),
    )
    class_columns = forms.BooleanField(
        label=gettext_lazy("The probability of every class"),
        required=False,
        help_text=gettext_lazy("One column more for each class."),
    )

    ranked_by = forms.ChoiceField(
        label=gettext_lazy("List first those most likely to be"),
        required=False,
        help_text=gettext_lazy("A second file lists the rows in this order, with how likely each is and its lift."),
    )
    top = forms.FloatField(
        label=gettext_lazy("How many of them, in per cent"),
        required=False,
        initial=USUAL_TOP,
        min_value=0.01,
        max_value=MOST_TOP,
        help_text=gettext_lazy("20 lists the first fifth of the rows."),
    )

    def __init__(self, *, team: Team, version: ModelVersion, values: QueryDict, is_submitted: bool) -> None:
        self.version = version
        self.choices = data_to_ask(team, version)
        usual = DATASET if self.choices else FILE
        self.source = values.get("source") if values.get("source") in (DATASET, FILE) else usual
        filled = {
            name: values.get(name, "") for name in ("dataset_version", "split", "class_columns", "uploads", "ranked_by")
        }
        filled["top"] = values.get("top", USUAL_TOP)
        super().__init__(data=filled if is_submitted else None, initial=filled)
        self.fields["dataset_version"].choices = [(data.pk, str(data)) for data in self.choices]
        self.fields["split"].choices = [("", _("All rows")), *((name, SPLIT_WORDS[name]) for name in SPLITS)]
        if not version.meta.get("classes"):
            del self.fields["class_columns"]
        self._offer_rankings(rankings_of(version))

    def _offer_rankings(self, known: list[str]) -> None:
        if not known:
            del self.fields["ranked_by"], self.fields["top"]
            return
        self.fields["ranked_by"].choices = [("", _("No list")), *((name, name) for name in known)]
        if not self.version.meta.get("classes"):
            self.fields["ranked_by"].label = _("List first those with the highest")

    @property
    def chosen(self) -> DatasetVersion | None:
        """The data set that is chosen now, the first unless a person chose another; None where a file is asked about,
        or nothing fits."""
        if self.source == FILE:
            return None
        wanted = str(self["dataset_version"].value())
        return next((data for data in self.choices if str(data.pk) == wanted), next(iter(self.choices), None))

    def clean(self) -> dict:
        cleaned = super().clean()
        if self.source == DATASET and not cleaned.get("dataset_version"):
            self.add_error("dataset_version", _("Choose a data set."))
        return cleaned

    def draft(self, team: Team, user: User) -> Job:
        """The job as it would be queued now, not saved."""
        fields = draft_fields(self.version, str(self.chosen or _("a file")))
        return Job(team=team, created_by=user, dataset_version=self.chosen, **fields)
