"""A gang of gloo processes on this machine, started as the runners of its nodes would start them."""

import os
import socket
import subprocess
from pathlib import Path

from workers.parallel.launch import NodeOfGang, command

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_node(
    module: str, argument: Path, *, processes: int, port: int, rank: int = 0, nodes: int = 1
) -> subprocess.Popen:
    """Node `rank` of `nodes`, on which ``python -m module argument`` runs as `processes`; its output goes beside."""
    node = NodeOfGang("gang", rank, nodes, processes, f"127.0.0.1:{port}", "127.0.0.1")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GLOO_SOCKET_IFNAME": "lo"}
    folder = argument if argument.is_dir() else argument.parent
    with open(folder / "output.txt", "ab") as output:
        return subprocess.Popen(
            command(node, [module, str(argument)]), cwd=ROOT, env=environment, stdout=output, stderr=output
        )
