"""The form of a compression: how much may be lost, and recipes where a person wants to build them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import Team, User
from apps.core.retelling import retell
from apps.jobs.compressing import compression_fields
from apps.jobs.models import Job
from apps.jobs.recipe_presets import PRESETS, RecipePreset, presets_for
from apps.jobs.setting_fields import form_field, shown, typed
from apps.registry.figures import headline
from apps.registry.models import ModelVersion
from apps.resources.wanted import wanted_of, written
from workers.compression.recipes import (
    BOTH,
    LATENCY,
    METHODS,
    MOST_RECIPES,
    SETTINGS,
    SIZE,
    Method,
    check_recipe,
    methods_for,
    name_of,
)
from workers.contract import TABULAR_REGRESSION
from workers.domains import NETWORKS
from workers.training.field import Field, HyperparameterError

PLACE = re.compile(r"recipes\.(\d{1,4})\.(\d{1,4})\.(\w{1,40})")
USUAL_SECONDS = (120, 300, 900, 1800, 3600, 4 * 3600, 12 * 3600)
MOST_ON_THE_SLIDER = 10
MAIN = ("limit_points", "favour", "seconds")


@dataclass(frozen=True)
class FavourChoice:
    """What counts among models within the limit."""

    name: str
    label: Any
    icon: str
    help: Any


FAVOUR_CHOICES = (
    FavourChoice(BOTH, gettext_lazy("Both"), "ti-scale", gettext_lazy("Smaller and faster, neither at any price.")),
    FavourChoice(
        SIZE, gettext_lazy("Size"), "ti-package", gettext_lazy("The smallest files, for devices and downloads.")
    ),
    FavourChoice(LATENCY, gettext_lazy("Speed"), "ti-bolt", gettext_lazy("The quickest answer to one request.")),
)


class StepForm(forms.Form):
    """One step of a recipe; its fields are named as the program names them, ``recipes.0.1.amount``."""

    def __init__(self, method: Method, values: Mapping[str, Any], task: str, place: str) -> None:
        self.method = method
        self.known = [item for item in method.fields if item.name != "epochs" or task in NETWORKS]
        usual = {item.name: shown(item.default) for item in self.known}
        super().__init__({f"{place}.{name}": values.get(name, usual[name]) for name in usual}, prefix=place)
        for item in self.known:
            self.fields[item.name] = form_field(item)
        _forget_errors(self)

    def add_prefix(self, field_name: str) -> str:
        return f"{self.prefix}.{field_name}"

    @property
    def step(self) -> dict[str, Any]:
        """What was meant, unchecked."""
        return {"method": self.method.name, **{item.name: _meant(item, self[item.name].value()) for item in self.known}}

    def check(self) -> None:
        """Put what is wrong beside each field."""
        for item in self.known:
            _check_into(self, item)


@dataclass
class RecipeDraft:
    """A recipe as it stands in the form."""

    number: int
    steps: list[StepForm]
    task: str
    errors: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """ "50% of channels removed, int8"; the methods alone where a value is wrong."""
        try:
            return name_of(check_recipe(self.task, [step.step for step in self.steps]))
        except HyperparameterError:
            return ", ".join(_(step.method.label) for step in self.steps) or _("New recipe")

    @property
    def is_sound(self) -> bool:
        try:
            return bool(check_recipe(self.task, [step.step for step in self.steps]))
        except HyperparameterError:
            return False

    @property
    def addable(self) -> list[Method]:
        """Methods that it has not yet, in the order in which they run."""
        used = {step.method.name for step in self.steps}
        return sorted((each for each in methods_for(self.task) if each.name not in used), key=lambda each: each.stage)


class CompressForm(forms.Form):
    """`values` are what a person sent or a link proposes; what they leave out is as usual. One of `values` may be
    ``change``, what a button asks of the recipes: ``preset:int8``, ``presets``, ``empty``, ``add:0:quantise``,
    ``remove:0:1``, ``drop:0``.

    The steps of a recipe have one order, so a step that is added takes its place by itself.
    """

    def __init__(self, *, version: ModelVersion, values: QueryDict | Mapping[str, str], is_submitted: bool) -> None:
        self.version, self.task = version, version.model.task
        self.known = {item.name: item for item in SETTINGS}
        usual = {name: shown(item.default) for name, item in self.known.items()}
        super().__init__({name: values.get(name, usual[name]) for name in self.known})
        for name, item in self.known.items():
            self.fields[name] = form_field(item)
        self.fields["seconds"] = forms.CharField(
            label=_("Time"),
            widget=forms.Select(choices=_time_choices(self.data["seconds"])),
            help_text=_("No further candidate is begun after this; the best so far is kept."),
        )
        self.recipes = self._read_recipes(values)
        self._change(values.get("change", ""))
        _forget_errors(self)
        if is_submitted:
            self._check()

    def _read_recipes(self, values: Mapping[str, str]) -> list[RecipeDraft]:
        """What was sent, numbered anew; the steps of each in the order in which they run."""
        sent: dict[int, dict[int, dict[str, str]]] = {}
        for key in values:
            if found := PLACE.fullmatch(key):
                recipe, step, name = int(found[1]), int(found[2]), found[3]
                sent.setdefault(recipe, {}).setdefault(step, {})[name] = values[key]
            elif key == "recipe":  # one that has no steps yet
                for number in _numbers(values, key):
                    sent.setdefault(number, {})
        ordered = [[steps[number] for number in sorted(steps)] for _number, steps in sorted(sent.items())]
        return [self._draft(number, steps) for number, steps in enumerate(ordered)]

    def _draft(self, number: int, steps: list[Mapping[str, Any]]) -> RecipeDraft:
        known = {method.name: method for method in methods_for(self.task)}
        steps = sorted(
            (step for step in steps if step.get("method") in known), key=lambda step: known[step["method"]].stage
        )
        forms_ = [
            StepForm(known[step["method"]], step, self.task, f"recipes.{number}.{place}")
            for place, step in enumerate(steps)
        ]
        return RecipeDraft(number, forms_, self.task)

    def _change(self, asked: str) -> None:
        """What a button asks; what makes no sense changes nothing."""
        recipes: list[list[Mapping[str, Any]]] = [[_as_sent(step) for step in draft.steps] for draft in self.recipes]
        match asked.split(":"):
            case ["preset", name] if name in PRESETS:
                recipes.append([_written_step(step) for step in PRESETS[name].steps])
            case ["presets"]:
                recipes += [[_written_step(step) for step in preset.steps] for preset in self.presets]
            case ["empty"]:
                recipes.append([])
            case ["add", number, method] if _is_index(number, recipes) and method in METHODS:
                recipes[int(number)].append({"method": method})
            case ["remove", number, step] if _is_index(number, recipes) and _is_index(step, recipes[int(number)]):
                recipes[int(number)].pop(int(step))
            case ["drop", number] if _is_index(number, recipes):
                recipes.pop(int(number))
            case _:
                return
        self.recipes = [self._draft(number, steps) for number, steps in enumerate(recipes[:MOST_RECIPES])]

    def _check(self) -> None:
        for item in self.known.values():
            _check_into(self, item)
        for draft in self.recipes:
            for step in draft.steps:
                step.check()
            if any(step.errors for step in draft.steps):
                continue
            try:
                check_recipe(self.task, [step.step for step in draft.steps])
            except HyperparameterError as error:
                draft.errors.append(retell(error.message))

    def is_valid(self) -> bool:
        return super().is_valid() and not self.has_recipe_errors

    def add_refusal(self, place: str, message: str) -> bool:
        """Say what was refused beside what it is about; False where that is not in this form."""
        if place in self.fields:
            self.add_error(place, message)
            return True
        for draft in self.recipes:
            if place == f"recipes.{draft.number}" or place.startswith(f"recipes.{draft.number}."):
                draft.errors.append(message)
                return True
        return False

    @property
    def has_recipe_errors(self) -> bool:
        return any(draft.errors or any(step.errors for step in draft.steps) for draft in self.recipes)

    @property
    def has_more_errors(self) -> bool:
        return any(name in self.errors for name in self.known if name not in MAIN)

    @property
    def settings(self) -> dict[str, Any]:
        """What was meant, unchecked, as `submit_compression` takes it."""
        plain = {name: _meant(item, self[name].value()) for name, item in self.known.items()}
        return plain | {"recipes": [[step.step for step in draft.steps] for draft in self.recipes]}

    def draft(self, team: Team, user: User) -> Job:
        """The job as it would be queued now, not saved; a setting that is wrong counts as usual."""
        settings = {}
        for name, item in self.known.items():
            try:
                settings[name] = item.check(_meant(item, self[name].value()))
            except HyperparameterError:
                continue
        settings["recipes"] = [[step.step for step in draft.steps] for draft in self.recipes if draft.is_sound]
        return Job(team=team, created_by=user, **compression_fields(team, self.version, settings))

    @property
    def presets(self) -> list[RecipePreset]:
        return presets_for(self.task)

    @property
    def favours(self) -> tuple[FavourChoice, ...]:
        return FAVOUR_CHOICES

    @property
    def favour_name(self) -> str:
        """A choice that does not exist counts as the usual one."""
        names = [choice.name for choice in FAVOUR_CHOICES]
        return self["favour"].value() if self["favour"].value() in names else BOTH

    @property
    def more(self) -> list[forms.BoundField]:
        return [self[name] for name in self.known if name not in MAIN]

    @property
    def changed_names(self) -> list[str]:
        """Of the further settings those that are not as usual."""
        return [item.name for item in self.more if item.value() != shown(self.known[item.name].default)]

    @property
    def is_regression(self) -> bool:
        return self.task == TABULAR_REGRESSION

    @property
    def score(self) -> Any:
        """The figure that the original is known by, None where it was not measured."""
        return headline(self.version.metrics)

    @property
    def most_on_the_slider(self) -> int:
        return MOST_ON_THE_SLIDER

    @property
    def can_add_recipes(self) -> bool:
        return len(self.recipes) < MOST_RECIPES


def values_of_compression(job: Job) -> dict[str, str]:
    """A job's choices as the form takes them, to clone it."""
    settings = job.hyperparameters
    plain = {name: shown(value) for name, value in settings.items() if name != "recipes"}
    where = written(wanted_of(job.allocation).choices) if job.allocation else {}
    return {**plain, **dict(_written_recipes(settings.get("recipes", []))), **where}


def _written_recipes(recipes: list[list[dict[str, Any]]]) -> Iterator[tuple[str, str]]:
    for number, steps in enumerate(recipes):
        for place, step in enumerate(steps):
            for name, value in step.items():
                yield f"recipes.{number}.{place}.{name}", shown(value)


def _written_step(step: Mapping[str, Any]) -> dict[str, str]:
    return {name: shown(value) for name, value in step.items()}


def _as_sent(form: StepForm) -> dict[str, Any]:
    return {"method": form.method.name, **{item.name: form[item.name].value() for item in form.known}}


def _is_index(text: str, rows: list) -> bool:
    return text.isdecimal() and len(text) < 5 and int(text) < len(rows)


def _numbers(values: QueryDict | Mapping[str, str], key: str) -> list[int]:
    sent = values.getlist(key) if isinstance(values, QueryDict) else [values[key]]
    return [int(text) for text in sent if text.isdecimal() and len(text) < 5]


def _time_choices(chosen: str) -> list[tuple[str, str]]:
    """With the one that is chosen, where it is none of the usual ones."""
    seconds = {*USUAL_SECONDS, *([int(chosen)] if chosen.isdecimal() and len(chosen) < 9 else [])}
    return [(str(each), _in_words(each)) for each in sorted(seconds)]


def _in_words(seconds: int) -> str:
    if seconds % 3600 == 0:
        return _("%(n)d h") % {"n": seconds // 3600}
    return _("%(n)d min") % {"n": seconds // 60} if seconds % 60 == 0 else _("%(n)d s") % {"n": seconds}


def _meant(item: Field, text: Any) -> Any:
    return typed(item, str(text if text is not None else "").strip())


def _forget_errors(form: forms.Form) -> None:
    """Django's own say less than those of the fields, and nothing is wrong before it is sent."""
    form.full_clean()
    form.errors.clear()


def _check_into(form: forms.Form, item: Field) -> None:
    try:
        item.check(_meant(item, form[item.name].value()))
    except HyperparameterError as error:
        form.add_error(item.name, retell(error.message))
