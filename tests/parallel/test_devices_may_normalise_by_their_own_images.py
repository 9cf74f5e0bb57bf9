"""With batch statistics of its own, each process normalises by its part of a batch, as a micro-batch of one process
would be, and yet all keep one model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.parallel.cases import APART, STEPS, alone, curve, kept, make_model, problem
from tests.parallel.conftest import Gang
from workers.parallel.plan import SINGLE, ParallelPlan
from workers.parallel.synchronized import OwnBatchNorm, Share

pytestmark = pytest.mark.xdist_group("gang-of-2")


def test_they_train_what_one_process_trains_by_micro_batches(gang_of: Callable[[int], Gang], tmp_path: Path) -> None:
    alone(APART, tmp_path, ParallelPlan(SINGLE, accumulation=2))
    expected, found = curve(tmp_path), curve(gang_of(2).folder / "apart")
    steps = [key for key in expected if key.startswith("loss train")]
    assert len(steps) == STEPS
    assert [found[key] for key in steps] == pytest.approx([expected[key] for key in steps], rel=1e-5)


def test_all_processes_keep_the_same_model_and_it_answers_alone_as_they_did(gang_of: Callable[[int], Gang]) -> None:
    (first, answers), (second, _) = (kept(gang_of(2).folder / "apart" / f"{rank}.safetensors") for rank in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    model = make_model(APART)
    model.load_state_dict(first)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(torch.from_numpy(problem()[0])), answers, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_process_with_too_few_images_for_a_variance_takes_the_running_one(rows: int) -> None:
    norm = OwnBatchNorm(torch.nn.BatchNorm2d(3), Share()).train()
    values = torch.ones(rows, 3, 1, 1)
    assert norm(values).flatten().tolist() == pytest.approx([1.0] * 3 * rows, rel=1e-4)
    assert norm.running_mean.tolist() == [0.0] * 3
