"""A training is at work on a real site, a fault strikes, and the job ends as if nothing had happened.

Every run of the tests tells the few faults that are marked short; ``make test-faults`` tells all of them and prints a
table. FAULT= (one, or several with commas) and SEED= repeat what was.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.conftest import CHOSEN, IS_LONG
from tests.faults.injections import FAULTS, Fault, Scene, why_not
from tests.faults.judging import Outcome, Verdict, judge, outcome_of
from tests.faults.site import Site

SEED = int(os.environ.get("SEED") or 0)
EARLIEST, LATEST = 0.25, 0.6  # when a fault strikes, in parts of the training

pytestmark = pytest.mark.xdist_group("faults")


def chosen_faults() -> list[Fault]:
    """Those asked for, in an order that the seed gives."""
    known = {fault.name: fault for fault in FAULTS}
    if unknown := set(CHOSEN) - set(known):
        raise pytest.UsageError(f"There is no fault {', '.join(unknown)}. There are: {', '.join(known)}")
    faults = [known[name] for name in CHOSEN] or [fault for fault in FAULTS if IS_LONG or fault.is_short]
    random.Random(SEED).shuffle(faults)
    return faults


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> Callable[[int], Outcome]:
    """What the same training on so many devices comes to with nothing done to it."""

    @cache
    def train(devices: int) -> Outcome:
        training = site.train(f"undisturbed on {devices}", devices)
        assert training.await_end()["status"] == "succeeded", training.story()
        return outcome_of(training)

    return train


@pytest.fixture(scope="module")
def verdicts() -> Iterator[list[Verdict]]:
    """The rows of the table, printed at the end and written to the file OUT."""
    found: list[Verdict] = []
    yield found
    if IS_LONG:
        print(f"\nseed {SEED}\n{table.render(found)}")
    if path := os.environ.get("OUT"):
        Path(path).write_text(table.render(found))


@pytest.mark.parametrize("fault", chosen_faults(), ids=lambda fault: fault.name)
def test_a_job_is_not_lost(fault: Fault, site: Site, undisturbed: Callable[[int], Outcome], verdicts: list[Verdict]):
    verdict = Verdict(fault.name, skipped=why_not(fault))
    verdicts.append(verdict)
    if verdict.skipped:
        pytest.skip(verdict.skipped)
    outcome, began = undisturbed(fault.devices), time.monotonic()
    chance, training = random.Random(f"{SEED}/{fault.name}"), site.train(fault.name, fault.devices)
    training.await_step(1)
    training.await_step(round(chance.uniform(EARLIEST, LATEST) * training.total_steps()))
    scene = Scene(site, training, chance.choice(training.machines()), chance, is_gang=fault.devices > 1)
    injected_at, verdict.injected_at_step = time.time(), scene.training.step()
    verdict.noticed_seconds = fault.inject(scene)
    scene.training.await_end()
    judge(verdict, fault, scene, injected_at, outcome)
    verdict.seconds = time.monotonic() - began
    print("\n" + table.line(verdict))
    assert not verdict.broken, f"{fault.what}\n{table.line(verdict)}\n{scene.training.story()}"
