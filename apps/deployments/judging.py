"""Whether a canary does worse than the stable version, from numbers alone. Pure."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

LATENCY_FLOOR_SECONDS = 0.05


@dataclass(frozen=True)
class Figures:
    """How many answers a version gave, how many of them were server errors, and its latencies in seconds.

    Latencies are None where nothing was answered, and so is `batch_size`: how many questions were answered together.
    """

    answers: int = 0
    errors: int = 0
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    p99_seconds: float | None = None
    batch_size: float | None = None

    @property
    def error_percent(self) -> float:
        return 100 * self.errors / self.answers if self.answers else 0.0


@dataclass(frozen=True)
class Limits:
    """See Deployment."""

    min_answers: int = 50
    max_error_points: float = 2.0
    max_latency_factor: float = 2.0


def why_to_stop(canary: Figures, stable: Figures, limits: Limits) -> str:
    """The reason why `canary` should get no more traffic; empty while it may go on.

    A stable version without answers counts as one without errors, and its latency as unknown.
    """
    if canary.answers < limits.min_answers:
        return ""
    if canary.error_percent > stable.error_percent + limits.max_error_points:
        return _(
            "%(errors)d of its %(answers)d answers were server errors (%(ours).1f %%); of the stable version's "
            "%(theirs).1f %%."
        ) % {
            "errors": canary.errors,
            "answers": canary.answers,
            "ours": canary.error_percent,
            "theirs": stable.error_percent,
        }
    if _is_slow(canary.p99_seconds, stable.p99_seconds, limits):
        return _(
            "1 of 100 of its %(answers)d answers took longer than %(ours).0f ms (99th percentile); of the stable "
            "version's %(theirs).0f ms."
        ) % {
            "answers": canary.answers,
            "ours": canary.p99_seconds * 1000,
            "theirs": stable.p99_seconds * 1000,
        }
    return ""


def _is_slow(ours: float | None, theirs: float | None, limits: Limits) -> bool:
    if ours is None or theirs is None:
        return False
    return ours > LATENCY_FLOOR_SECONDS and ours > theirs * limits.max_latency_factor
