"""The processes of one training and what they tell each other: numbers and JSON, never pickles.

They are started by torchrun, which gives each its rank in the environment. The word that they exchange besides weights
and gradients travels over gloo on the CPU, so that it waits for no accelerator.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# A rank that waits longer than this for another in one exchange gives up: the other is gone.
TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Processes:
    """This process's place among `world_size`; alone it needs no process group."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true for one of the processes at least; the same answer for all."""
        if self.world_size == 1:
            return flag
        told = torch.tensor([int(flag)], dtype=torch.int32)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told.item())

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each number summed over all processes."""
        if self.world_size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def wait_for_all(self) -> None:
        self.any(False)

    def from_first(self, value: Any) -> Any:
        """What the first process gave, as JSON carries it."""
        return self.gather(value if self.is_first else None)[0]

    def gather(self, value: Any) -> list[Any]:
        """The value of every process in the order of their ranks, as JSON carries it."""
        if self.world_size == 1:
            return [value]
        body = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        dist.all_gather(lengths, torch.tensor([len(body)]))
        longest = max(int(length) for length in lengths)
        padded = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world_size)]
        dist.all_gather(padded, torch.cat([body, body.new_zeros(longest - len(body))]))
        return [json.loads(bytes(text[: int(length)].tolist())) for text, length in zip(padded, lengths, strict=True)]

    def collect(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The CPU tensors of all processes on the first one; the others get their own."""
        collected = dict(tensors)
        facts = {name: [list(value.shape), str(value.dtype)] for name, value in tensors.items()}
        for rank, listed in enumerate(self.gather(facts)):
            for name, (shape, kind) in listed.items():
                if self.is_first and rank:
                    collected[name] = torch.empty(shape, dtype=_dtype(kind))
                    dist.recv(collected[name], rank)
                elif self.rank == rank and rank:
                    dist.send(tensors[name].contiguous(), 0)
        return collected

    def spread(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """The CPU tensors of the first process, on all of them."""
        if self.world_size == 1:
            return dict(tensors or {})
        facts = {name: [list(value.shape), str(value.dtype)] for name, value in (tensors or {}).items()}
        received: dict[str, Tensor] = {}
        for name, (shape, kind) in self.from_first(facts).items():
            value = tensors[name].contiguous() if self.is_first else torch.empty(shape, dtype=_dtype(kind))
            dist.broadcast(value, 0)
            received[name] = value
        return received


def _dtype(name: str) -> torch.dtype:
    return getattr(torch, name.removeprefix("torch."))


def join(device: str) -> Processes:
    """Take this process's place: torchrun's, when the environment says so, else alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo", timeout=TIMEOUT)
    return Processes(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
