"""A training that has ended is trained further: from its checkpoint, on the same data, and never for the worse."""

import shutil
from pathlib import Path

import pytest

from tests.training.stopping import StopAfter
from tests.training.test_resume import EPOCHS, STEPS_PER_EPOCH, curve, run
from workers.contract import ProgramFailure
from workers.training.checkpoints import TENSORS
from workers.training.hyperparameters import RESTART_SHARE
from workers.training.optimization import learning_rate_factor
from workers.training.stages import Stage
from workers.training.stopping import Stopped

STEPS = EPOCHS * STEPS_PER_EPOCH
PEAK = 0.01


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a training that has run to its end."""
    work = tmp_path_factory.mktemp("ended")
    run(work, learning_rate=PEAK)
    return work


@pytest.fixture
def work(ended: Path, tmp_path: Path) -> Path:
    """A new work folder with the checkpoints of the training that has ended, as a new job gets it."""
    shutil.copytree(ended / "checkpoints", tmp_path / "work" / "checkpoints")
    return tmp_path / "work"


def extend(work: Path, epochs: int, **changes):
    settings = {"learning_rate": PEAK, "epochs": EPOCHS + epochs, "resume": True, "extends_step": STEPS, **changes}
    return run(work, **settings)


def rates(work: Path) -> dict[int, float]:
    return {step: value for (name, _, step), value in curve(work).items() if name == "learning_rate"}


def test_five_more_epochs_go_on_at_the_old_numbers_with_the_old_history(ended, work):
    before, _ = run(ended, learning_rate=PEAK, resume=True)
    after, _ = extend(work, 5)
    assert (after.epochs, after.steps) == (EPOCHS + 5, STEPS + 5 * STEPS_PER_EPOCH)
    assert after.history[:EPOCHS] == before.history
    assert [row["epoch"] for row in after.history] == list(range(1, EPOCHS + 6))
    assert min(rates(work)) == STEPS + 1


def test_the_rate_starts_at_a_share_of_the_peak_and_runs_down_once_more(work):
    extend(work, 5)
    found = rates(work)
    assert found[STEPS + 1] == pytest.approx(RESTART_SHARE * PEAK)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found[max(found)] < 0.01 * PEAK


def test_a_constant_rate_just_goes_on(tmp_path):
    run(tmp_path, scheduler="constant", learning_rate=PEAK)
    extend(tmp_path, 2, scheduler="constant")
    assert {rate for step, rate in rates(tmp_path).items() if step > STEPS} == {PEAK}


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "step"])
def test_a_course_that_was_cut_off_goes_on_from_where_it_was_if_that_is_higher(scheduler):
    reached = learning_rate_factor(scheduler, 30, 100, 0.1)
    stage = Stage.extending(30, reached)
    assert stage.factor(scheduler, 30, 80, 0.1) == pytest.approx(max(RESTART_SHARE, reached))
    assert Stage.extending(100, 0.0).factor(scheduler, 100, 150, 0.1) == RESTART_SHARE


def test_the_best_epoch_so_far_competes_with_the_new_ones(work):
    before, kept = run(work, learning_rate=PEAK, resume=True)
    worse, model = extend(work, 2, learning_rate=PEAK)
    assert worse.best_score >= before.best_score
    new = [-row["val_loss"] for row in worse.history[EPOCHS:]]
    assert worse.best_score == max(before.best_score, *new)
    if worse.best_epoch <= EPOCHS:
        assert all((kept.state_dict()[name] == value).all() for name, value in model.state_dict().items())


def test_an_extension_that_is_interrupted_ends_as_one_that_is_not(work, tmp_path):
    shutil.copytree(work, tmp_path / "whole")
    whole, _ = extend(tmp_path / "whole", 5)
    for stop_after in (3, STEPS_PER_EPOCH + 2):
        with pytest.raises(Stopped):
            extend(work, 5, stop=StopAfter(stop_after))
    resumed, _ = extend(work, 5)
    assert resumed.history == whole.history
    assert rates(work) == rates(tmp_path / "whole")


def test_one_that_stopped_early_has_its_patience_anew(tmp_path):
    impatient = {"learning_rate": 0.3, "max_grad_norm": 0.0, "early_stopping_patience": 2}
    first, _ = run(tmp_path, epochs=200, **impatient)
    assert first.stopped_early
    more, _ = extend(tmp_path, first.epochs + 3 - EPOCHS, **impatient, extends_step=first.steps)
    assert first.epochs + 2 <= more.epochs


def test_an_extension_can_be_extended(work):
    extend(work, 2)
    again, _ = extend(work, 5, extends_step=STEPS + 2 * STEPS_PER_EPOCH)
    assert again.epochs == EPOCHS + 5
    assert rates(work)[STEPS + 2 * STEPS_PER_EPOCH + 1] == pytest.approx(RESTART_SHARE * PEAK)


@pytest.mark.parametrize("change", [{"learning_rate": 0.02}, {"batch_size": 20}, {"extends_step": 3}])
def test_it_never_begins_anew_in_silence(work, change):
    with pytest.raises(ProgramFailure) as caught:
        extend(work, 5, **change)
    assert caught.value.code == "nothing_to_extend"


def test_a_damaged_checkpoint_is_named(work):
    for path in (work / "checkpoints").glob("step-*"):
        (path / TENSORS).write_bytes(b"")
    with pytest.raises(ProgramFailure, match="damaged"):
        extend(work, 5)
