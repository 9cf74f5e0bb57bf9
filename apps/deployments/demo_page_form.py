"""The form by which people choose how a demo page looks and what it says (apps/deployments/pages.py)."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.deployments.models import Deployment
from apps.deployments.pages import CHAT, MAX_ANSWER_LENGTH, OFFERS, PAGES, SCREENING, THRESHOLD, UNSURE_BELOW
from workers.contract import ANSWER_RETRIEVAL

MAX_CLASSES = 500  # answers that can be written on one page; the others stay as they are
USUAL = ("", _("The usual one"))
PAGE_NAMES = {CHAT: _("A talk"), OFFERS: _("Offers to a customer"), SCREENING: _("A screening for one class")}
TALK, SCREEN = ("greeting", "unknown", "unsure_below"), ("positive", "threshold")


def _text(label: Any, help_text: Any = "", rows: int = 2, placeholder: Any = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        help_text=help_text,
        required=False,
        max_length=MAX_ANSWER_LENGTH,
        widget=forms.Textarea(attrs={"rows": rows, "placeholder": placeholder}),
    )


class DemoPageForm(forms.Form):
    """Which page, and what stands on it. `talk` and `answers` are the fields that a talk alone has, `screening` those
    of a screening; a page that is left for another keeps them. `suggested` fills fields in: `page`, `positive` and
    `threshold` in percent."""

    page = forms.ChoiceField(label=_("Page"), required=False)
    notice = _text(_("Notice"), _("Stands above everything, for instance that the answers may be wrong."))
    greeting = _text(_("Greeting"), _("How the talk begins."), placeholder=_("Hello. What can I do for you?"))
    unknown = _text(
        _("When it does not know"),
        _("Said in place of an answer of which the model is not sure enough."),
        placeholder=_("I am not sure what you mean. Could you say it in other words?"),
    )
    unsure_below = forms.FloatField(
        label=_("Sure enough from, in percent"),
        required=False,
        min_value=0,
        max_value=100,
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    positive = forms.ChoiceField(
        label=_("Look for"),
        help_text=_("Positive from the threshold on, whatever is likelier. Programs are told it beside the answer."),
        required=False,
    )
    threshold = forms.IntegerField(
        label=_("Threshold, in percent"),
        help_text=_("The page of the model shows what it finds, and what that costs, at each."),
        required=False,
        min_value=0,
        max_value=100,
        widget=forms.NumberInput(attrs={"placeholder": f"{100 * THRESHOLD:g}"}),
    )

    def __init__(
        self, *args: Any, deployment: Deployment, suggested: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._settings = deployment.page_settings
        task = deployment.version.model.task
        choices = [USUAL, *((page, PAGE_NAMES[page]) for page, tasks in PAGES.items() if task in tasks)]
        self.fields["page"].choices = choices
        self.initial = {**self._settings, "page": deployment.page}
        self._classes: dict[str, str] = {}
        classes = deployment.version.meta.get("classes") or []
        if len(choices) == 1:
            del self.fields["page"]
        if task in PAGES[CHAT]:
            self._add_talk(task, classes)
        else:
            self._leave_out(TALK)
        if task in PAGES[SCREENING]:
            self._add_screening(classes)
        else:
            self._leave_out(SCREEN)
        self.initial |= {name: suggested[name] for name in ("page", *SCREEN) if suggested and name in suggested}

    def _leave_out(self, names: Sequence[str]) -> None:
        for name in names:
            del self.fields[name]

    def _add_screening(self, classes: list[str]) -> None:
        self.fields["positive"].choices = [("", _("Choose a class")), *((name, name) for name in classes[:MAX_CLASSES])]
        if "threshold" in self._settings:
            self.initial["threshold"] = round(100 * self._settings["threshold"])

    def _add_talk(self, task: str, classes: list[str]) -> None:
        finds_answers = task == ANSWER_RETRIEVAL
        bound = self.fields["unsure_below"]
        if finds_answers:
            bound.help_text = _("Left empty, the model says itself when it does not know.")
        else:
            bound.help_text = _("Left empty, it is 50.")
            bound.widget.attrs["placeholder"] = f"{100 * UNSURE_BELOW:g}"
        if "unsure_below" in self._settings:
            self.initial["unsure_below"] = round(100 * self._settings["unsure_below"], 6)
        written = self._settings.get("answers", {})
        for number, name in enumerate([] if finds_answers else classes[:MAX_CLASSES]):
            key = f"answer_{number}"
            self._classes[key] = name
            self.fields[key] = _text(name)
            self.initial[key] = written.get(name, "")

    @property
    def talk(self) -> list[forms.BoundField]:
        return [self[name] for name in TALK if name in self.fields]

    @property
    def screening(self) -> list[forms.BoundField]:
        return [self[name] for name in SCREEN if name in self.fields]

    @property
    def answers(self) -> list[forms.BoundField]:
        return [self[key] for key in self._classes]

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if data.get("page") == SCREENING and not data.get("positive") and "positive" not in self.errors:
            self.add_error("positive", _("Choose the class that the page looks for."))
        return data

    def wanted(self) -> dict[str, Any]:
        """`page` and `page_settings`; what was left empty is the usual."""
        data = {
            name: value.replace("\r\n", "\n") if isinstance(value, str) else value
            for name, value in self.cleaned_data.items()
        }
        said = {name: data[name] for name in ("notice", "greeting", "unknown", "positive") if data.get(name)}
        for name in ("unsure_below", "threshold"):
            if data.get(name) is not None:
                said[name] = data[name] / 100
        answers = dict(self._settings.get("answers", {}))
        for key, name in self._classes.items():
            answers.pop(name, None)
            if data[key]:
                answers[name] = data[key]
        return {"page": data.get("page", ""), "page_settings": said | ({"answers": answers} if answers else {})}
