"""Processes that are stopped leave together, and go on as if nothing had been; also from the checkpoint before, when a
part of the newest is damaged, and with another strategy or number of processes."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from tests.parallel.cases import RESUMED, STOPPED_AT, alone, curve
from tests.parallel.conftest import Gang
from workers.contract import read_events
from workers.parallel.plan import ParallelPlan

pytestmark = pytest.mark.xdist_group("gang-of-2")
EPOCH = 4  # steps


@pytest.fixture
def gang(gang_of: Callable[[int], Gang]) -> Gang:
    return gang_of(2)


def logs(work: Path) -> list[str]:
    return [event["message"] for event, _ in read_events(work / "events.jsonl") if event["type"] == "log"]


def step_of(folder: str) -> int:
    return int(folder.removeprefix("step-"))


@pytest.mark.parametrize("name", RESUMED)
def test_all_stop_at_one_step_when_the_last_is_asked_to(gang: Gang, name: str) -> None:
    facts = gang.read("facts.json")[name]
    for kind in ("cut at", "damaged at", "left at"):
        first, last = map(step_of, facts[kind])
        assert EPOCH < first == last <= STOPPED_AT


@pytest.mark.parametrize("name", RESUMED)
def test_going_on_gives_the_losses_of_the_uninterrupted_training(gang: Gang, name: str) -> None:
    work = gang.folder / "resumed" / name
    stopped_at = step_of(gang.read("facts.json")[name]["cut at"][0])
    assert logs(work / "cut") == [f"Going on from step {stopped_at} of {2 * EPOCH}."]
    assert curve(work / "cut") == curve(work / "whole")


@pytest.mark.parametrize("name", RESUMED)
def test_a_damaged_part_takes_all_back_to_the_checkpoint_before(gang: Gang, name: str) -> None:
    work = gang.folder / "resumed" / name
    assert logs(work / "damaged") == [f"Going on from step {EPOCH} of {2 * EPOCH}."]
    assert curve(work / "damaged") == curve(work / "whole")


def later(points: dict[str, float], step: int) -> dict[str, float]:
    return {key: value for key, value in points.items() if int(key.rsplit(" ", 1)[1]) > step}


@pytest.mark.parametrize("name", RESUMED)
def test_one_process_goes_on_from_what_several_left(gang: Gang, tmp_path: Path, name: str) -> None:
    work = gang.folder / "resumed" / name
    copytree(work / "left" / "checkpoints", tmp_path / "checkpoints")
    stopped_at = step_of(gang.read("facts.json")[name]["left at"][0])
    plan = ParallelPlan(accumulation=RESUMED[name].plan.get("accumulation", 1))
    result, _, _ = alone(RESUMED[name], tmp_path, plan, resume=True)
    assert result.steps == 2 * EPOCH
    assert logs(tmp_path)[0] == f"Going on from step {stopped_at} of {2 * EPOCH}."
    if name == "local_sgd":  # alone it goes another way from the same place
        assert curve(tmp_path).keys() == later(curve(work / "whole"), stopped_at).keys()
    else:
        assert curve(tmp_path) == pytest.approx(later(curve(work / "whole"), stopped_at), rel=1e-5)


@pytest.mark.parametrize("name", RESUMED)
def test_several_go_on_from_what_one_process_left(gang: Gang, name: str) -> None:
    work = gang.folder / "divided" / name
    assert logs(work / "divided")[0] == f"Going on from step {STOPPED_AT - 1} of {2 * EPOCH}."
    if name == "local_sgd":
        assert curve(work / "divided").keys() == later(curve(work / "alone"), STOPPED_AT - 1).keys()
    else:
        assert curve(work / "divided") == pytest.approx(later(curve(work / "alone"), STOPPED_AT - 1), rel=1e-5)


@pytest.mark.parametrize("name", RESUMED)
def test_what_diverges_on_one_process_ends_all_with_one_reason(gang: Gang, name: str) -> None:
    first, last = gang.read("facts.json")[name]["diverged"]
    assert first == last
    assert first.startswith("diverged: Training diverged: the training loss became nan in epoch 1, step 1,")
