"""Training one network as a spec says."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from workers.contract import EventWriter, TrainSpec
from workers.parallel.strategies.base import Strategy
from workers.training.batches import Batches
from workers.training.checkpoints import checkpoints_of
from workers.training.loop import Evaluation, FitResult, fit
from workers.training.losses import Loss
from workers.training.stopping import Stop

LOADING, TRAINING = (0.01, 0.06), (0.06, 0.92)  # parts of the progress


def fit_network(
    model: nn.Module,
    batches: Batches,
    evaluate: Callable[[nn.Module], Evaluation],
    loss: Loss,
    spec: TrainSpec,
    events: EventWriter,
    stop: Stop,
    strategy: Strategy | None = None,
) -> FitResult:
    """`fit` with what `spec` says of it; raises what `fit` raises."""
    return fit(
        model,
        batches,
        evaluate,
        loss,
        hyperparameters=spec.hyperparameters,
        events=events,
        stop=stop,
        checkpoints=checkpoints_of(spec),
        resume=spec.resume,
        extends_step=spec.extends_step,
        device=spec.device,
        span=TRAINING,
        strategy=strategy,
    )


def telling(events: EventWriter, stop: Stop, span: tuple[float, float], sentence: str) -> Callable[[float], None]:
    """Tells of a part of the whole how far it is. It raises Stopped."""

    def tell(share: float) -> None:
        stop.check()
        events.progress(span[0] + (span[1] - span[0]) * share, sentence)

    return tell
