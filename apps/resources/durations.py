"""How long work will take, as each pool has learned it from what ended well.

A pool keeps one model for each program ("train image_classification fast"), so that people who have run nothing yet
profit from what others ran. It is learned from when work succeeds, and from its whole time on devices, over all its
attempts. What failed or was cancelled ended early for another reason: of it is only known that it would have lasted
longer, so it teaches nothing. Nothing is asked of work that is still to come.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction

from apps.resources.models import DurationHistory, Pool
from apps.resources.scheduling import Estimate
from apps.resources.scheduling.prediction import DurationModel, Features

VERSION = 1
# Seconds on one device, from quick to slow, that a program is thought to take before anything of it has ended; by the
# longest beginning of its name that is here. Round figures for small data on a CPU or a small GPU: a person's own work
# of the same kind outweighs them after a few ends.
FIRST_GUESSES: Mapping[str, tuple[float, ...]] = {
    "": (15.0, 30.0, 60.0, 300.0, 1800.0),
    "prepare": (2.0, 4.0, 6.0, 12.0, 60.0),
    "compress": (10.0, 20.0, 30.0, 60.0, 180.0),
    "compress image_classification": (30.0, 60.0, 120.0, 300.0, 900.0),
    "compress image_classification search": (120.0, 300.0, 600.0, 1200.0, 3600.0),
    "compress text_classification": (30.0, 60.0, 120.0, 300.0, 900.0),
    "compress text_classification search": (120.0, 300.0, 600.0, 1200.0, 3600.0),
    "compress audio_classification": (30.0, 60.0, 120.0, 300.0, 900.0),
    "compress audio_classification search": (120.0, 300.0, 600.0, 1200.0, 3600.0),
    "fuse": (10.0, 20.0, 30.0, 60.0, 180.0),
    "predict": (3.0, 5.0, 10.0, 30.0, 300.0),
    "train audio_classification fast": (20.0, 30.0, 60.0, 120.0, 300.0),
    "train audio_classification balanced": (30.0, 60.0, 120.0, 300.0, 900.0),
    "train audio_classification accurate": (300.0, 600.0, 1200.0, 1800.0, 5400.0),
    "train forecasting": (5.0, 15.0, 30.0, 120.0, 600.0),
    "train image_classification fast": (15.0, 30.0, 45.0, 60.0, 180.0),
    "train image_classification balanced": (60.0, 120.0, 180.0, 300.0, 900.0),
    "train image_classification accurate": (300.0, 600.0, 1200.0, 1800.0, 5400.0),
    "train multi_label_images fast": (15.0, 30.0, 45.0, 60.0, 180.0),
    "train multi_label_images balanced": (60.0, 120.0, 180.0, 300.0, 900.0),
    "train multi_label_images accurate": (300.0, 600.0, 1200.0, 1800.0, 5400.0),
    "train recommendation": (10.0, 30.0, 60.0, 240.0, 900.0),
    "train speech_recognition fast": (30.0, 60.0, 180.0, 600.0, 1800.0),
    "train speech_recognition balanced": (60.0, 150.0, 480.0, 1800.0, 5400.0),
    "train speech_recognition accurate": (300.0, 900.0, 3600.0, 10800.0, 36000.0),
    "train tabular": (10.0, 20.0, 40.0, 90.0, 300.0),
    "train text_classification fast": (8.0, 15.0, 30.0, 60.0, 240.0),
    "train text_classification balanced": (10.0, 30.0, 90.0, 240.0, 600.0),
    "train text_classification accurate": (30.0, 90.0, 300.0, 900.0, 1800.0),
    "train translation fast": (15.0, 60.0, 150.0, 600.0, 1800.0),
    "train translation balanced": (30.0, 150.0, 480.0, 1800.0, 5400.0),
    "train translation accurate": (120.0, 900.0, 3600.0, 10800.0, 36000.0),
}
GUESS_WEIGHT = 20  # each guess counts as so many pieces of work


@dataclass(frozen=True)
class Expectation:
    """How long work will run in all, and how much work of its program has ended well so far; 0 is a first guess."""

    estimate: Estimate
    seen: int

    def at_most(self, seconds: float) -> "Expectation":
        """The same for work that is given no more than so long."""
        known = self.estimate
        low, median, high = (
            min(value, seconds) for value in (known.low_seconds, known.median_seconds, known.high_seconds)
        )
        durations = tuple(min(value, seconds) for value in known.durations)
        return Expectation(Estimate(low, median, high, durations), self.seen)


def expect_duration(pool: Pool, program: str, features: Features) -> Expectation:
    """How long work of `program` will run."""
    history = DurationHistory.objects.filter(pool=pool).first()
    model, seen = _read(history.state if history else {}, program)
    return Expectation(model.estimate(features), seen)


@transaction.atomic
def observe_duration(*, pool: Pool, program: str, features: Features, seconds: float) -> None:
    """Work has ended well after running so long in all."""
    DurationHistory.objects.get_or_create(pool=pool)
    history = DurationHistory.objects.select_for_update().get(pool=pool)
    model, seen = _read(history.state, program)
    model.observe(features, seconds)
    known = history.state.get("programs", {}) if history.state.get("version") == VERSION else {}
    programs = {**known, program: {"seen": seen + 1, "model": model.to_dict()}}
    history.state = {"version": VERSION, "programs": programs}
    history.save(update_fields=["state", "updated_at"])


def _read(state: Mapping, program: str) -> tuple[DurationModel, int]:
    """The model of a program and how much it has seen; what another version has written counts as nothing."""
    kept = state.get("programs", {}).get(program) if state.get("version") == VERSION else None
    if kept:
        return DurationModel.from_dict(kept["model"]), kept["seen"]
    model = DurationModel()
    beginning = max((name for name in FIRST_GUESSES if program.startswith(name)), key=len)
    for seconds in FIRST_GUESSES[beginning] * GUESS_WEIGHT:
        model.observe(Features(submitted_at=0.0), seconds)
    return model, 0
