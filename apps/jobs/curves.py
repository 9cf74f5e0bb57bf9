"""The points of a job's curves as the page draws them, and the words it writes beside them. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext as _

from apps.jobs.models import Metric
from apps.jobs.numbers import finite
from apps.registry.figures import KNOWN, PERCENT

POINTS_PER_ANSWER = 4000
FIRST = ("loss", "accuracy", "ndcg_at_10", "r2", "rmse", "mae", "macro_f1", "auc", "log_loss")
LAST = 90


def increment(metrics: Iterable[Metric], *, is_resting: bool) -> dict[str, Any]:
    """Points as [id, name, split, step, epoch, value]; a value that is not finite is null.

    `metrics` holds up to POINTS_PER_ANSWER + 1 rows in the order of their ids: one too many says that there are more.
    """
    rows = list(metrics)
    points = [[row.pk, row.name, row.split, row.step, row.epoch, finite(row.value)] for row in rows[:POINTS_PER_ANSWER]]
    return {"points": points, "has_more": len(rows) > POINTS_PER_ANSWER, "is_resting": is_resting}


def words(hyperparameters: Mapping[str, Any], target: str) -> dict[str, Any]:
    """What curves.js writes: axis titles with units, the names of the splits, and how each metric is shown."""
    units = {"loss": str(hyperparameters.get("loss", "")).replace("_", " "), "rmse": target, "mae": target}
    metrics = {
        name: {
            "label": str(label),
            "higher": higher,
            "percent": how == PERCENT,
            "unit": "%" if how == PERCENT else units.get(name, ""),
            "order": FIRST.index(name) if name in FIRST else len(FIRST),
        }
        for name, (label, how, higher) in KNOWN.items()
    }
    rate = {"label": _("Learning rate"), "higher": False, "percent": False, "unit": "", "order": LAST}
    return {
        "metrics": metrics | {"learning_rate": rate},
        "train": _("train"),
        "val": _("validation"),
        "best": _("best"),
        "last": _("now"),
        "epoch": _("epoch"),
        "step": _("step"),
        "epochAxis": _("Epoch"),
        "stepAxis": _("Optimiser step"),
        "none": _("This job ended before it measured anything."),
    }
