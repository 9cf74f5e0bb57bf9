"""How the processes of one node of a gang are started: torchrun's arguments, and what they find in their environment.

Pure. Rank r of the gang is the r-th process of all, node by node; so the first process on the node that leads is rank
0. torchrun's rendezvous ``c10d`` would not hold to that, because it numbers the nodes by their addresses. Hence
``static``, where each is told its number: the gang is as large as it was granted, and torchrun does not restart it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

LOOPBACK = "lo"
JOIN_SECONDS = 900  # the others may still be fetching their data
SHUTDOWN_SECONDS = 60  # longer than a runner waits before it kills


@dataclass(frozen=True)
class NodeOfGang:
    """One node of a gang of `nodes`, whose `processes` are started here. `endpoint` is where the node of rank 0 waits
    for the others, as address:port; `address` is this node's own; `indexes` are the CUDA devices to use, if any."""

    name: str
    rank: int
    nodes: int
    processes: int
    endpoint: str
    address: str
    indexes: Sequence[int] = ()


def command(node: NodeOfGang, program: Sequence[str]) -> list[str]:
    """What runs `program`, a module and its arguments, in each process of the node."""
    host, _, port = node.endpoint.rpartition(":")
    return [
        sys.executable, "-m", "workers.parallel.elastic",
        "--rdzv-backend", "static",
        "--rdzv-id", node.name,
        "--rdzv-conf", f"timeout={JOIN_SECONDS}",
        "--master-addr", host.strip("[]"),
        "--master-port", port,
        "--nnodes", str(node.nodes),
        "--node-rank", str(node.rank),
        "--nproc-per-node", str(node.processes),
        "--local-addr", node.address,
        "--max-restarts", "0",
        "--shutdown-timeout", str(SHUTDOWN_SECONDS),
        "-m", *program,
    ]  # fmt: skip


def environment(node: NodeOfGang, interfaces: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """`interfaces` maps the names of this machine's network interfaces to their addresses."""
    found = {}
    if name := interface_of(node.address, interfaces):
        found |= {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}
    return found | visible_devices(node.indexes)


def visible_devices(indexes: Sequence[int]) -> dict[str, str]:
    """Variables by which a program sees no other GPUs than these; none where it may see all."""
    if not indexes:
        return {}
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as nvidia-smi counts them
        "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in indexes),
    }


def interface_of(address: str, interfaces: Mapping[str, Sequence[str]]) -> str:
    """The interface that carries `address`; "" where none does, and the libraries are left to choose. All of 127/8
    belongs to the loopback interface, though only one address of it is listed."""
    for name, addresses in interfaces.items():
        if address in addresses:
            return name
    try:
        is_loopback = ip_address(address).is_loopback
    except ValueError:
        return ""
    loopbacks = (name for name, listed in interfaces.items() if {"127.0.0.1", "::1"} & set(listed))
    return next(loopbacks, LOOPBACK) if is_loopback else ""
