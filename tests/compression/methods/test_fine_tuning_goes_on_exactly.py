"""A fine-tuning under way, with weights being removed or rounded, goes on after an interruption as if there had been
none, with its moving average."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.compression.methods.models import trained
from tests.training.stopping import StopAfter
from workers.compression.methods import convert, prepare
from workers.contract import IMAGE_CLASSIFICATION, EventWriter
from workers.training.batches import Batches
from workers.training.checkpoints import CheckpointStore
from workers.training.hyperparameters import resolve
from workers.training.loop import Evaluation, fit
from workers.training.losses import make_loss
from workers.training.stopping import Stop, Stopped

EPOCHS, ROWS, BATCH = 3, 160, 32
STEPS = {
    "removing": {"method": "prune_weights", "amount": 0.8, "pattern": "any", "epochs": EPOCHS},
    "rounding": {"method": "quantise", "scheme": "int8", "epochs": EPOCHS},
}


def tuned(step: dict, work: Path, stop: Stop | None = None, resume: bool = False) -> nn.Module:
    case = trained("residual")
    model = case.copy()
    prepare(model, step, case.data(EPOCHS * ROWS // BATCH))
    settings = resolve(
        IMAGE_CLASSIFICATION, "fast", {"epochs": EPOCHS, "batch_size": BATCH, "ema_decay": 0.9, "seed": 2}
    )

    def evaluate(judged: nn.Module) -> Evaluation:
        return Evaluation(-float(cross_entropy(judged(case.held_inputs), case.held_targets)), {})

    fit(
        model, Batches([case.inputs[:ROWS].numpy()], case.targets[:ROWS], BATCH, 2), evaluate, make_loss(settings),
        hyperparameters=settings, events=EventWriter(work / "events.jsonl"), stop=stop or Stop(),
        checkpoints=CheckpointStore(work / "checkpoints"), resume=resume,
    )  # fmt: skip
    return model


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_weights_at_the_end_are_the_same(step: dict, tmp_path: Path) -> None:
    whole = tuned(step, tmp_path / "whole")
    with pytest.raises(Stopped):
        tuned(step, tmp_path / "cut", StopAfter(7))
    resumed = tuned(step, tmp_path / "cut", resume=True)
    assert whole.state_dict().keys() == resumed.state_dict().keys()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    convert(resumed, step)
    if step["method"] == "prune_weights":  # also where an early epoch was the best
        assert float((resumed.features[2].second[0].weight == 0).double().mean()) > 0.75
