"""The cost model: what a step takes and what a device has to hold. Pure arithmetic.

Collectives are rings: an all-reduce moves 2 (p - 1) / p of the bytes over each link and pays 2 (p - 1) latencies
(Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms"); an all-gather or a reduce-scatter is half of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from workers.parallel.facts import CPU, Device, Layer, Link, ModelProfile, Settings

MOST_DIRECT = 8  # processes that send a few numbers straight to each other; more of them do so around a ring
BACKWARD_SHARE = 2 / 3  # of forward and backward together: two products of matrices against one
BUCKET_BYTES = 25 * 2**20  # DDP sends gradients in buckets of this size; the last one waits for the end of backward
CONTROL_WORDS = 2
GRADIENT_COPIES = 1
BEST_COPIES = 1  # the weights of the best epoch so far stay on the device
OUTER_COPIES = 2  # local SGD keeps the weights of the last synchronisation and the outer momentum


def all_reduce_seconds(size_bytes: float, world_size: int, link: Link) -> float:
    return 2 * all_gather_seconds(size_bytes, world_size, link)


def all_gather_seconds(size_bytes: float, world_size: int, link: Link) -> float:
    """Also what a reduce-scatter takes."""
    hops = world_size - 1
    return hops / world_size * size_bytes / link.bytes_per_second + hops * link.latency_seconds


def norm_seconds(profile: ModelProfile, world_size: int, link: Link) -> float:
    """The statistics of every batch normalisation, which all ranks exchange forward and backward. Nothing can be done
    meanwhile."""
    return 2 * profile.norms * exchange_seconds(world_size, link)


def statistics_seconds(profile: ModelProfile, world_size: int, link: Link) -> float:
    """The mean of all ranks' running statistics, once a step."""
    return all_reduce_seconds(0, world_size, link) if profile.norms else 0.0


def control_seconds(world_size: int, link: Link) -> float:
    """What ranks tell each other in every step beside the model: the loss, and whether one of them is to stop."""
    return CONTROL_WORDS * exchange_seconds(world_size, link)


def exchange_seconds(world_size: int, link: Link) -> float:
    """A few numbers of each rank for all others (workers/parallel/words.py): they cost their latencies alone, which
    a few ranks pay at the same time."""
    return link.latency_seconds if world_size <= MOST_DIRECT else all_gather_seconds(0, world_size, link)


def compute_seconds(layers: Sequence[Layer], examples: float, device: Device) -> float:
    """Forward and backward of one call with so many examples."""
    return sum(layer.call_seconds + examples * layer.example_seconds for layer in layers) / device.speed


def update_seconds(profile: ModelProfile, settings: Settings, device: Device, share: float = 1.0) -> float:
    """The optimiser's step and the moving average on `share` of the parameters."""
    whole = profile.update_seconds + (profile.average_seconds if settings.has_average else 0.0)
    return share * whole / device.speed


def exposed_seconds(communication: float, last: float, compute: float, devices: Sequence[Device]) -> float:
    """What communication adds to a step. On GPUs it runs beside backward, but for the `last` piece, which waits for its
    end; on CPUs it uses the same cores, so nothing is hidden."""
    if any(device.kind == CPU for device in devices):
        return communication
    return max(min(last, communication), communication - BACKWARD_SHARE * compute)


def state_copies(settings: Settings, extra: int = 0) -> int:
    """How many times a device holds the parameters: as they are, gradients, optimiser, moving average, best epoch."""
    return 1 + GRADIENT_COPIES + settings.optimizer_states + settings.has_average + BEST_COPIES + extra


def activation_bytes(layers: Sequence[Layer], examples: int, calls_kept: int = 1) -> int:
    """What backward needs of `calls_kept` calls with so many examples, and the largest output with its gradient."""
    kept = sum(layer.activation_bytes for layer in layers) * examples * calls_kept
    return kept + 2 * examples * max((layer.output_bytes for layer in layers), default=0)


def replica_bytes(profile: ModelProfile, settings: Settings, examples: int, extra_copies: int = 0) -> int:
    """A device that holds the whole model and takes so many examples at once."""
    state = profile.parameter_bytes * state_copies(settings, extra_copies)
    return profile.base_bytes + state + activation_bytes(profile.layers, examples)


def sharded_bytes(profile: ModelProfile, settings: Settings, examples: int, world_size: int) -> int:
    """A device that holds its part of everything, and one layer whole with its gradient while it computes (ZeRO stage
    3, Rajbhandari et al. 2020)."""
    state = -(-profile.parameter_bytes * state_copies(settings) // world_size)
    whole = 2 * max(layer.parameter_bytes for layer in profile.layers)
    return profile.base_bytes + state + whole + activation_bytes(profile.layers, examples)


def stage_bytes(profile: ModelProfile, begin: int, end: int, settings: Settings, examples: int, kept: int) -> int:
    """The stage of a pipeline with the layers from `begin` to `end`: their state, what it is sent, and the activations
    of the `kept` micro-batches that are on their way."""
    layers = profile.layers[begin:end]
    state = sum(layer.parameter_bytes for layer in layers) * state_copies(settings)
    received = profile.layers[begin - 1].output_bytes * examples * kept if begin else 0
    return profile.base_bytes + state + received + activation_bytes(layers, examples, kept)


def kept_micro_batches(stage: int, stages: int, micro_batches: int) -> int:
    """How many have gone forward through a stage and not yet back. With enough of them one forward alternates
    with one backward (1F1B, Narayanan et al. 2021); else all go forward first (GPipe, Huang et al. 2019)."""
    return min(micro_batches, stages - stage) if micro_batches >= stages else micro_batches


def send_seconds(layer: Layer, examples: float, link: Link) -> float:
    """A stage's output to the next stage, and its gradient back."""
    return 2 * (examples * layer.output_bytes / link.bytes_per_second + link.latency_seconds)
