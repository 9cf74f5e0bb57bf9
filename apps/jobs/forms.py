"""The launch form: a version, a task, a preset, and every hyper-parameter under its usual name."""

import contextlib
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Team, User
from apps.core.retelling import retell
from apps.datasets.kinds import Shown, shown_as
from apps.datasets.models import DatasetVersion
from apps.jobs import interactions, series_columns
from apps.jobs.models import Job
from apps.jobs.setting_fields import form_field, language_choices, one_of, shown, typed
from apps.jobs.start_form import start_fields
from apps.jobs.starts.folders import Listed, list_folders, told_folder
from apps.jobs.text_columns import found_text_column
from apps.registry.figures import TASK_LABELS
from apps.registry.models import RegisteredModel
from apps.resources.wanted import wanted_of, written
from workers.contract import (
    ANSWER_RETRIEVAL,
    AUDIO_CLASSIFICATION,
    FORECASTING,
    KIND_AUDIO,
    KIND_TABLE,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    TEXT_CLASSIFICATION,
    TRANSLATION,
)
from workers.pretrained.languages import FIELDS as LANGUAGE_FIELDS
from workers.training.field import Field, HyperparameterError
from workers.training.hyperparameters import fields_for, preset_values
from workers.training.presets import DEFAULT_PRESET, PRESETS

TASK_CHOICES = {
    TABULAR_CLASSIFICATION: gettext_lazy("Classification (one of several classes)"),
    TABULAR_REGRESSION: gettext_lazy("Regression (a number)"),
    TEXT_CLASSIFICATION: gettext_lazy("Texts (one of several classes)"),
    RECOMMENDATION: gettext_lazy("Recommendation (what users like)"),
    TRANSLATION: gettext_lazy("Translation (another text)"),
    FORECASTING: gettext_lazy("Forecast (the next values over time)"),
    AUDIO_CLASSIFICATION: gettext_lazy("Sounds (one of several classes)"),
    SPEECH_RECOGNITION: gettext_lazy("Speech (what is said, in writing)"),
    ANSWER_RETRIEVAL: gettext_lazy("Answers (the one that fits a question)"),
}
# The settings that stand beside the task, because they say what the columns of the table are.
ROLE_FIELDS = {RECOMMENDATION: interactions.FIELDS, FORECASTING: series_columns.SHOWN}
TARGET_HELP = {
    TEXT_CLASSIFICATION: gettext_lazy("The column the model learns to predict from the texts."),
    TRANSLATION: gettext_lazy("The column with the translations, which the model learns to write."),
    FORECASTING: gettext_lazy("The column with the values, whose next ones the model learns to say."),
    ANSWER_RETRIEVAL: gettext_lazy("The column with the answers, among which the model learns to find the right one."),
}
TASK_HELP = {
    KIND_TABLE: gettext_lazy(
        "Few different values are classes, many numbers a regression; change it where that is wrong."
    ),
    KIND_AUDIO: gettext_lazy("Labels name a sound; transcripts say what is said in it. Change it where that is wrong."),
}
FOUND_HELP = gettext_lazy("What the check found the table to be about; change it where that is wrong.")
PAIRED = (TRANSLATION, ANSWER_RETRIEVAL)  # tasks of a table in which two texts go together
TARGET_TYPES = ("numeric", "categorical", "boolean")
NO_TEXTS = ("numeric", "boolean", "date")
MANY_VALUES = 20


def guess_task(version: DatasetVersion, target: str) -> str:
    """The task that a target column asks for; the version's own answer for its own target."""
    if version.kind != KIND_TABLE or target == version.target:
        return version.task
    column = next((item for item in version.report.get("columns", []) if item["name"] == target), {})
    if version.task in PAIRED and column.get("type") not in TARGET_TYPES:
        return version.task
    if version.task == FORECASTING and column.get("type") == "numeric":
        return FORECASTING
    is_number = column.get("type") == "numeric" and column.get("unique", 0) > MANY_VALUES
    if is_number:
        return TABULAR_REGRESSION
    return TEXT_CLASSIFICATION if version.task == TEXT_CLASSIFICATION else TABULAR_CLASSIFICATION


def text_columns_of(version: DatasetVersion, target: str) -> list[tuple[str, str]]:
    """The columns that may hold the texts, the one that the check of the data has found in front."""
    found = found_text_column(version, target)
    columns = [item["name"] for item in version.report.get("columns", []) if item["type"] not in NO_TEXTS]
    choices = [(name, name) for name in columns if name not in (target, found)]
    automatic = _("Automatic: %(column)s") % {"column": found} if found and found != target else _("Choose a column")
    return [("", automatic), *choices]


def targets_of(version: DatasetVersion) -> list[str]:
    """The columns that can be predicted, the version's own target in front."""
    is_pair = version.task in PAIRED
    suitable = [
        item["name"]
        for item in version.report.get("columns", [])
        if item["type"] in TARGET_TYPES or (is_pair and item["type"] not in NO_TEXTS)
    ]
    if version.task == RECOMMENDATION and version.target not in suitable:
        suitable.append(version.target)
    return sorted(suitable, key=lambda name: name != version.target)


class LaunchForm(forms.Form):
    """Fields of one task, filled in from one preset.

    `filled_task`, `filled_preset` and `filled_name` say what the page was filled in with. So only what a person
    changed counts as an own value, and changing the preset brings the new preset's values without losing those, with
    JavaScript or without.
    """

    model_name = forms.CharField(
        label=gettext_lazy("Model name"),
        max_length=80,
        help_text=gettext_lazy("Training again under the same name makes the next version of that model."),
    )
    preset = forms.ChoiceField(choices=[(item.name, item.label) for item in PRESETS.values()])
    filled_task = forms.CharField(widget=forms.HiddenInput, required=False)
    filled_preset = forms.CharField(widget=forms.HiddenInput, required=False)
    filled_start = forms.CharField(widget=forms.HiddenInput, required=False)
    filled_name = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *, version: DatasetVersion, values: Mapping[str, str], is_submitted: bool = False) -> None:
        """`values` are what a person sent or a link proposes; what they leave out is filled in."""
        self.version = version
        self.chosen_task = one_of(values.get("task"), version.tasks, "")
        self.target_column = one_of(values.get("target"), targets_of(version), version.target)
        self.task_name = self.chosen_task or guess_task(version, self.target_column)
        self.preset_name = one_of(values.get("preset"), PRESETS, DEFAULT_PRESET)
        self.start_name = (values.get("start_hub") or values.get("start_from") or "").strip()
        fields = fields_for(self.task_name)
        if not any(field.type == "checkpoint" for field in fields):
            self.start_name = ""
        self.told = told_folder(self.start_name, self.task_name) if self.start_name else None
        self.hyperparameters = [field for field in fields if field.is_for(self.start_name) and self._is_told(field)]
        filled = self._fill_in(values)
        super().__init__(data=filled if is_submitted else None, initial=filled)
        if version.kind == KIND_TABLE:
            self._add_target()
        if len(version.tasks) > 1:
            self._add_task()
        for field in self.hyperparameters:
            if field.type == "checkpoint":
                self._add_start()
                continue
            columns = self._columns_for(field.name) if field.type == "column" else ()
            codes = (self.told or {}).get(field.name, ()) if field.type == "language" else ()
            self.fields[field.name] = form_field(field, columns or language_choices(codes))

    def _is_told(self, field: Field) -> bool:
        """Of what is known to be told nothing of languages, nothing is asked."""
        return field.name not in LANGUAGE_FIELDS or self.told is None or field.name in self.told

    def _columns_for(self, field: str) -> list[tuple[str, str]]:
        if self.task_name == RECOMMENDATION:
            return interactions.choices_for(self.version, field)
        if self.task_name == FORECASTING:
            return series_columns.choices_for(self.version, field, self.target_column)
        return text_columns_of(self.version, self.target_column)

    def _add_start(self) -> None:
        self.starts = list_folders(self.task_name)
        self.fields |= start_fields(self.starts)

    @property
    def writes_itself(self) -> bool:
        """Whether a checkpoint writes by itself, and may get no new layer."""
        return self.task_name in (TRANSLATION, SPEECH_RECOGNITION)

    @property
    def told_fields(self) -> list[forms.BoundField]:
        """What a checkpoint is told of languages."""
        return [self[field.name] for field in self.hyperparameters if field.name in LANGUAGE_FIELDS]

    @property
    def refused_starts(self) -> list[Listed]:
        """The folders that no model of this task can start from."""
        return [item for item in self.starts if item.refusal]

    @property
    def start_fields(self) -> list[forms.BoundField]:
        """What to start from; none for tasks that always start from nothing."""
        return [self[name] for name in ("start_from", "start_hub") if name in self.fields]

    def _fill_in(self, values: Mapping[str, str]) -> dict[str, str]:
        name = self._proposed_name()
        sent_name = values.get("model_name")
        self.is_name_proposed = sent_name is None or sent_name == values.get("filled_name")
        is_on_hub = "/" in self.start_name
        filled = {
            "start_from": "" if is_on_hub else self.start_name,
            "start_hub": self.start_name if is_on_hub else "",
            "filled_start": self.start_name,
            "filled_task": self.task_name,
            "filled_preset": self.preset_name,
            "filled_name": name,
            "model_name": name if self.is_name_proposed else sent_name,
        }
        proposal = {"target": self.target_column, "task": self.chosen_task, "preset": self.preset_name}
        return {**proposal, **values, **self._rebased(values), **filled}

    def _proposed_name(self) -> str:
        """The data set's name, so that training again makes the next version; another one where that is taken."""
        dataset = self.version.dataset
        taken = RegisteredModel.objects.filter(team=dataset.team_id, name=dataset.name).exclude(task=self.task_name)
        return f"{dataset.name} {self.target_column}".strip()[:80] if taken.exists() else dataset.name

    def _preset_values(self) -> dict[str, Any]:
        """The values of the preset, of the hyper-parameters that are shown."""
        values = preset_values(self.task_name, self.preset_name, self.start_name)
        return {field.name: values[field.name] for field in self.hyperparameters}

    def _rebased(self, values: Mapping[str, str]) -> dict[str, str]:
        """What a person changed, over the values of the preset that is chosen now."""
        now = self._preset_values()
        before = _filled_from(values)
        result = {name: shown(value) for name, value in now.items()}
        for name in result:
            sent = values.get(name, "").strip()
            if sent and sent != before.get(name):
                result[name] = sent
        return result

    def _add_target(self) -> None:
        self.fields["target"] = forms.ChoiceField(
            label=_("Target"),
            choices=[(name, name) for name in targets_of(self.version)],
            help_text=TARGET_HELP.get(self.task_name, _("The column the model learns to predict from all others.")),
        )

    def _add_task(self) -> None:
        guessed = guess_task(self.version, self.target_column)
        is_found = self.version.kind == KIND_TABLE and guessed not in (TABULAR_CLASSIFICATION, TABULAR_REGRESSION)
        automatic = _("Automatic: %(task)s") % {"task": TASK_LABELS[guessed]}
        self.fields["task"] = forms.ChoiceField(
            label=_("Task"),
            choices=[("", automatic), *((name, TASK_CHOICES[name]) for name in self.version.tasks)],
            required=False,
            help_text=FOUND_HELP if is_found else TASK_HELP[self.version.kind],
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        preset = self._preset_values()
        own = {}
        for field in self.hyperparameters:
            if field.name in self.errors:
                continue
            sent = self.start_name if field.type == "checkpoint" else cleaned[field.name]
            try:
                value = field.check(typed(field, sent))
            except HyperparameterError as error:
                self.add_error(self.start_place if field.type == "checkpoint" else field.name, retell(error.message))
                continue
            if field.type == "checkpoint" or value != preset[field.name]:
                own[field.name] = value
        if not own.get("start_from"):
            own.pop("start_from", None)
        self.own_values = own
        return cleaned

    @property
    def start_place(self) -> str:
        """The field in which a person said what to start from."""
        return "start_hub" if "/" in self.start_name else "start_from"

    @property
    def task_word(self) -> str:
        return str(TASK_LABELS[self.task_name])

    @property
    def data_kind(self) -> Shown | None:
        """How people see the data that such a task learns from."""
        return shown_as(self.version.kind, self.task_name)

    @property
    def text_column_name(self) -> str:
        """The column whose texts are read, as far as it is known; "" for other tasks."""
        if self.text_choice is None:
            return ""
        return self.text_choice.value() or found_text_column(self.version, self.target_column)

    @property
    def text_choice(self) -> forms.BoundField | None:
        """The choice of that column; None for other tasks."""
        columns = (field.name for field in self.hyperparameters if field.type == "column")
        return next((self[name] for name in columns if name not in self._role_names), None)

    @property
    def _role_names(self) -> tuple[str, ...]:
        return ROLE_FIELDS.get(self.task_name, ())

    @property
    def role_fields(self) -> list[forms.BoundField]:
        """What the columns of a recommendation or of a forecast are; none for other tasks."""
        return [self[name] for name in self._role_names]

    @property
    def item_word(self) -> str:
        """The column of what is recommended, as far as it is known; "" for other tasks."""
        if self.task_name != RECOMMENDATION:
            return ""
        roles = interactions.found_roles(self.version)
        return self["item_column"].value() or (roles.item if roles else "")

    @property
    def usual(self) -> list[forms.BoundField]:
        """Without those that stand beside the task."""
        elsewhere = ("column", "checkpoint")
        known = [field for field in self.hyperparameters if not (field.advanced or field.type in elsewhere)]
        return [self[field.name] for field in known if field.name not in (*self._role_names, *LANGUAGE_FIELDS)]

    @property
    def advanced(self) -> list[forms.BoundField]:
        return [self[field.name] for field in self.hyperparameters if field.advanced]

    @property
    def changed_names(self) -> list[str]:
        """The hyper-parameters that differ from the preset."""
        preset = self._preset_values()
        return [name for name, value in preset.items() if name != "start_from" and self[name].value() != shown(value)]

    def draft(self, team: Team, user: User) -> Job:
        """The job as it would be queued now, not saved; a setting that is wrong counts as the preset's."""
        settings = preset_values(self.task_name, self.preset_name, self.start_name)
        for field in self.hyperparameters:
            if field.type == "checkpoint":
                continue
            with contextlib.suppress(HyperparameterError):
                settings[field.name] = field.check(typed(field, str(self[field.name].value())))
        return Job(
            team=team,
            created_by=user,
            kind=Job.Kind.TRAIN,
            dataset_version=self.version,
            task=self.task_name,
            target=self.target_column if self.version.kind == KIND_TABLE else "",
            preset=self.preset_name,
            hyperparameters=settings,
            model_name=str(self["model_name"].value())[:80],
        )

    @property
    def has_hyperparameter_errors(self) -> bool:
        return any(field.name in self.errors for field in self.hyperparameters)


def _filled_from(values: Mapping[str, str]) -> dict[str, str]:
    try:
        filled = preset_values(
            values.get("filled_task", ""), values.get("filled_preset", ""), values.get("filled_start", "")
        )
    except HyperparameterError:
        return {}
    return {name: shown(value) for name, value in filled.items()}


def values_of_job(job: Job) -> dict[str, str]:
    """A job's choices as the form takes them, to clone it."""
    own = {name: shown(value) for name, value in job.hyperparameters.items()}
    where = written(wanted_of(job.allocation).choices) if job.allocation else {}
    if job.prediction:
        where["strategy"] = job.prediction["asked"]
    return {"task": job.task, "target": job.target, "preset": job.preset, "model_name": job.model_name, **own, **where}
