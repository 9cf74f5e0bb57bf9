"""What is told, and kept, while trees grow."""

from __future__ import annotations

import time

from workers.contract import EventWriter
from workers.training.reporting import CURVE_POINTS, PROGRESS_SECONDS
from workers.training.tables.boosting import Booster, Report
from workers.training.tables.checkpointing import Keeper


def report_growth(
    booster: Booster, keeper: Keeper, key: str, curves: EventWriter, span: tuple[float, float], about: str = ""
) -> Report:
    """For `Booster.grow` of the model `key`: draws `curves`, says how far it is within `span` of the whole, with what
    it is `about` behind the round, and saves when that is due."""
    rounds, reported = booster.settings.rounds, 0.0
    spacing = max(1, rounds // CURVE_POINTS)

    def report(number: int, train_loss: float, holdout_loss: float) -> None:
        nonlocal reported
        if number == 1 or number % spacing == 0:
            curves.metric("loss", train_loss, split="train", step=number, epoch=number)
            curves.metric("loss", holdout_loss, split="val", step=number, epoch=number)
        if time.monotonic() - reported >= PROGRESS_SECONDS:
            reported = time.monotonic()
            place = span[0] + (span[1] - span[0]) * number / rounds
            keeper.events.progress(place, f"Growing trees, round {number}{about}")
        keeper.save_if_due(key, booster.state)

    return report
