"""How the steps of one training are computed: in how many bits, and compiled or not.

It is settled once, after the first step, by what the settings say or by trial on this machine, and stands in the
checkpoints: a training goes on in the way in which it began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

AUTO, ON, OFF = "auto", "on", "off"
FULL, BF16, FP16 = "no", "bf16", "fp16"
TYPES = {BF16: torch.bfloat16, FP16: torch.float16}
# A trial takes the time of eight steps. What it finds must be so plainly better that another trial would find the same,
# and steps so short that clocks err about them are left as they are: the same seed is to give the same model.
FEWEST_STEPS, ROUNDS, MARGIN = 100, 3, 1.25
SHORTEST_STEP_SECONDS = 0.005
# Compiling takes from ten seconds to a minute for each size of batch, and gains a few per cent on most CPUs.
COMPILING_SECONDS = 60.0
WORTH_COMPILING = {"cpu": 20 * COMPILING_SECONDS, "cuda": 5 * COMPILING_SECONDS}

# Tells a sentence, and its level where that is not info.
Log = Callable[..., None]


@dataclass(frozen=True)
class Way:
    """One way to compute a step; `precision` is no (32 bits), bf16 or fp16."""

    precision: str = FULL
    is_compiled: bool = False

    @property
    def dtype(self) -> torch.dtype | None:
        """The type that autocast computes in, or None for 32 bits."""
        return TYPES.get(self.precision)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# Seconds of forward and backward over one batch, computed in the way given, and the same number in every process.
# Raises what the compiler raises.
Measure = Callable[[Way], float]


def first_way(wanted: str, device_type: str) -> Way:
    """The way before any trial: as the settings want it, or what is surely right for the device."""
    if wanted != AUTO:
        return Way(wanted)
    return Way(BF16 if device_type == "cuda" and has_bf16(device_type) else FULL)


def has_bf16(device_type: str) -> bool:
    """Whether the device computes in bf16 itself; others only imitate it, more slowly than they compute in 32 bits."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    facts = torch.cpu.get_capabilities()
    return any(facts.get(name, False) for name in ("amx_bf16", "amx_tile", "avx512_bf16"))


def choose_way(
    way: Way, *, settings: Mapping[str, Any], device_type: str, may_halve: bool, is_alone: bool, steps: int,
    measure: Measure, log: Log,
) -> Way:  # fmt: skip
    """The fastest way for the `steps` that are to come; starts from `first_way` and says in `log` what decided.

    `may_halve` is whether every process computes in bf16 itself. `is_alone` is false where several processes train
    together; these do not compile.
    """
    way = _choose_precision(way, settings["mixed_precision"], device_type, steps if may_halve else 0, measure, log)
    wanted = settings.get("compile", OFF)
    if wanted == OFF:
        return way
    if not is_alone:
        if wanted == ON:
            log("Several processes train together, so that the model is not compiled.")
        return way
    return _choose_compiling(way, wanted, device_type, steps, measure, log)


def _choose_precision(way: Way, wanted: str, device_type: str, steps: int, measure: Measure, log: Log) -> Way:
    if wanted != AUTO:
        return way
    if device_type != "cpu":
        log(f"Mixed precision: {way.precision}, as this device computes fastest.")
        return way
    if steps < FEWEST_STEPS:
        return way
    half = replace(way, precision=BF16)
    # In turns, so that what else the machine does strikes both alike.
    pairs = [(measure(way), measure(half)) for _ in range(1 + ROUNDS)][1:]  # the first ones warm up
    in_full, in_half = (min(seconds) for seconds in zip(*pairs, strict=True))
    chosen = half if in_half * MARGIN < in_full and in_full >= SHORTEST_STEP_SECONDS else way
    times = f"{1000 * in_full:.1f} ms in 32 bits and {1000 * in_half:.1f} ms in bf16"
    log(f"A step takes {times}: {_named(chosen)} is used.")
    return chosen


def _named(way: Way) -> str:
    return "32 bits" if way.precision == FULL else way.precision


def _choose_compiling(way: Way, wanted: str, device_type: str, steps: int, measure: Measure, log: Log) -> Way:
    if wanted == AUTO and steps < FEWEST_STEPS:
        return way
    plain = min(measure(way) for _ in range(ROUNDS))
    if wanted == AUTO and plain * steps < WORTH_COMPILING.get(device_type, WORTH_COMPILING["cpu"]):
        return way
    compiled, begin = replace(way, is_compiled=True), time.monotonic()
    try:
        measure(compiled)
        spent, seconds = time.monotonic() - begin, min(measure(compiled) for _ in range(ROUNDS))
    except Exception as error:  # whatever the compiler and what it calls raise; without a C++ compiler, for one
        log(f"The model cannot be compiled here and is trained as it is: {_first_line(error)}")
        return way
    # Batches have two sizes, and the other one is still to be compiled.
    pays = (plain - seconds) * steps > spent
    log(
        f"A step takes {1000 * plain:.1f} ms and compiled {1000 * seconds:.1f} ms, after {spent:.0f} s of compiling: "
        f"the model is {'compiled' if pays or wanted == ON else 'trained as it is'}."
    )
    return compiled if pays or wanted == ON else way


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
