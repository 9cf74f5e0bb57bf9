"""Demos that say whether what they are given is what somebody looks for: the usual demo of the task, with another
answer."""

from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.deployments.demos.kinds import Demo, Part
from apps.deployments.models import Deployment
from apps.registry.models import ModelVersion
from apps.registry.operating import Row, measured_at


@dataclass(frozen=True)
class Verdict:
    """What the page says, in the class's own words where there are but two, and why: the probability of `positive` and
    the threshold. `measured` is what the version found at this threshold among what it had not learned from."""

    words: str
    positive: str
    is_positive: bool
    probability: float
    threshold: float
    measured: Row | None

    @property
    def share_of_bar(self) -> float:
        """The probability of 100."""
        return round(100 * self.probability, 2)

    @property
    def place_of_threshold(self) -> float:
        """The threshold of 100."""
        return round(100 * self.threshold, 2)


def screened(demo: Demo) -> Demo:
    """`demo`, which is one of a model of classes, with a verdict for an answer."""
    return replace(
        demo,
        answer="deployments/answer_screening.html",
        invitation=gettext_lazy("It says whether this is what it looks for, and how often it is right."),
        predict=_with_verdict(demo.predict),
    )


def _with_verdict(predict: Part) -> Part:
    def predict_and_judge(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
        found = predict(request, deployment)
        decision = found.get("outcome", {}).get("decision")
        return found | ({"verdict": _verdict(deployment.version, decision)} if decision else {})

    return predict_and_judge


def _verdict(version: ModelVersion, decision: dict[str, Any]) -> Verdict:
    positive, is_positive = decision["positive"], decision["is_positive"]
    return Verdict(
        words=positive if is_positive else _opposite(version.meta.get("classes") or [], positive),
        positive=positive,
        is_positive=is_positive,
        probability=decision["probability"],
        threshold=decision["threshold"],
        measured=measured_at(version, positive, decision["threshold"]),
    )


def _opposite(classes: list[str], positive: str) -> str:
    others = [name for name in classes if name != positive]
    return others[0] if len(others) == 1 else _("not %(class)s") % {"class": positive}
