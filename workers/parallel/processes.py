"""The processes of one training and what they tell each other: numbers and JSON, never pickles.

They are started by torchrun, which gives each its rank in the environment. The word that they exchange besides weights
and gradients travels over gloo on the CPU, so that it waits for no accelerator.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from workers.contract import ProgramFailure
from workers.fence import Fenced
from workers.parallel.words import exchange
from workers.training.stopping import Stopped

# A rank that waits longer than this for another in one exchange gives up: the other is gone.
TIMEOUT = timedelta(minutes=10)
LOOK_SECONDS = 0.1
END = "lepton/end"


@dataclass(frozen=True)
class Processes:
    """This process's place among `world_size`; alone it needs no process group. `node` of `nodes` is the machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node: int = 0
    nodes: int = 1
    store: dist.Store | None = None

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
        return exchange(torch.tensor(values, dtype=torch.float64)).sum(dim=0).tolist()

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

    # Before the training and at its end, when the processes are not in step

    def once_per_node(self, name: str, function: Callable[[], Any]) -> Any:
        """What `function` returns, as JSON carries it, run by one process of each node while the others wait, however
        long it takes. All go on when every node is done. Raises what made any process give up."""
        if self.world_size == 1:
            return function()
        keys = [f"lepton/{name}/{node}" for node in range(self.nodes)]
        if self.local_rank == 0:
            self.store.set(keys[self.node], json.dumps(function()))
        while not self.store.check(keys):
            self.raise_why_another_gave_up()
            time.sleep(LOOK_SECONDS)
        return json.loads(self.store.get(keys[self.node]))

    def tell_why(self, error: BaseException) -> None:
        """The first reason that is told stands."""
        if isinstance(error, ProgramFailure):
            reason = {name: getattr(error, name) for name in ("code", "message", "hint", "blame", "field")}
        else:
            reason = {"kind": type(error).__name__, "message": str(error)}
        self.store.compare_set(END, "", json.dumps(reason | {"rank": self.rank}))

    def raise_why_another_gave_up(self) -> None:
        """Raises ProgramFailure, Stopped, Fenced or RuntimeError for another's; returns when none has told."""
        if not self.store.check([END]):
            return
        reason = json.loads(self.store.get(END))
        rank = reason.pop("rank")
        if rank == self.rank:
            return
        if "code" in reason:
            raise ProgramFailure(reason.pop("code"), reason.pop("message"), **reason)
        for quiet in (Stopped, Fenced):
            if reason["kind"] == quiet.__name__:
                raise quiet
        raise RuntimeError(f"Process {rank} ended: {reason['kind']}: {reason['message']}")

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


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """This process's place: torchrun's, when the environment says that there are several, else alone.

    When one process gives up, the others lose their connections to it; they then raise what it did.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    processes = _join(device)
    try:
        yield processes
    except Exception as error:
        processes.tell_why(error)
        if isinstance(error, RuntimeError):  # as a broken connection is
            processes.raise_why_another_gave_up()
        raise  # what is left of the group ends with the process: taking it down could wait for those who are gone
    dist.destroy_process_group()


def _join(device: str) -> Processes:
    store, rank, world_size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(torch.device(device))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
    local_rank, node, nodes = (int(os.environ[name]) for name in ("LOCAL_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE"))
    return Processes(rank, world_size, local_rank, node, nodes, store)


def own_device(device: str) -> str:
    """The device of this process on a node where `device` was given to all: its own GPU, or the CPU they share."""
    is_shared = device.startswith("cuda") and int(os.environ.get("WORLD_SIZE", "1")) > 1
    return f"cuda:{os.environ['LOCAL_RANK']}" if is_shared else device
