"""What to do about a failed training, one click away where it can be. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

SMALLEST_LEARNING_RATE = 1e-7

BLAME = {
    "data": gettext_lazy("Your data"),
    "settings": gettext_lazy("Your settings"),
    "machine": gettext_lazy("Our machine"),
}


@dataclass(frozen=True)
class Remedy:
    """`changes` are the hyper-parameters to set before training again; `label` is the button's text."""

    label: str
    changes: Mapping[str, Any]


def find_remedy(failure: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> Remedy | None:
    """The change of settings that is most likely to help, or None where no setting would."""
    remedy = REMEDIES.get(failure.get("code", ""))
    return remedy(hyperparameters) if remedy else None


def _lower_learning_rate(hyperparameters: Mapping[str, Any]) -> Remedy | None:
    now = hyperparameters.get("learning_rate")
    if not now or now <= SMALLEST_LEARNING_RATE:
        return None
    lower = float(f"{max(now / 10, SMALLEST_LEARNING_RATE):.3g}")
    return Remedy(_("Train again with learning rate %(rate)g") % {"rate": lower}, {"learning_rate": lower})


def _halve_batch(hyperparameters: Mapping[str, Any]) -> Remedy | None:
    now = hyperparameters.get("batch_size", 1)
    if now < 2:
        return None
    return Remedy(_("Train again with batch size %(n)d") % {"n": now // 2}, {"batch_size": now // 2})


def _full_precision(hyperparameters: Mapping[str, Any]) -> Remedy:
    return Remedy(_("Train again without mixed precision"), {"mixed_precision": "no"})


REMEDIES: Mapping[str, Callable[[Mapping[str, Any]], Remedy | None]] = {
    "diverged": _lower_learning_rate,
    "out_of_memory": _halve_batch,
    "unsupported_precision": _full_precision,
}
