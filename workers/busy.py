"""How much of the time that a program holds devices they are at work.

A CPU device is busy by the CPU time of the program's processes, over the threads it was given; an NVIDIA device by what
nvidia-smi says of it. Other kinds tell nothing and count as busy.
"""

import resource
import subprocess
from collections.abc import Sequence

import psutil

SAMPLE_SECONDS = 5.0
NVIDIA_SECONDS = 4
CPU, CUDA = "cpu", "cuda"


class BusyMeter:
    """Counts busy device-seconds of one program. `devices` are (kind, index); times are of a monotonic clock. What a
    program with `pid` has used so far, while it waited for this work, is not counted."""

    def __init__(self, devices: Sequence[tuple[str, int]], threads: int, *, now: float, pid: int | None = None) -> None:
        self.kind = devices[0][0] if devices else ""
        self.indexes = [index for _kind, index in devices]
        self.threads = max(1, threads)
        self.sampled_at = now
        self.counted_cpu = tree_cpu_seconds(pid) if pid else 0.0
        self.cpu_before = waited_cpu_seconds()
        self.nvidia_busy = 0.0  # devices' worth, as last seen

    def sample(self, pid: int, *, now: float) -> float:
        """Busy device-seconds since the last sample; 0 while it is too early for another."""
        if not self.indexes or now - self.sampled_at < SAMPLE_SECONDS:
            return 0.0
        if self.kind == CUDA:
            self.nvidia_busy = nvidia_busy(self.indexes)
        return self._count(tree_cpu_seconds(pid) if self.kind == CPU else 0.0, now)

    def finish(self, *, now: float) -> float:
        """The rest, once the program has been waited for."""
        return self._count(waited_cpu_seconds() - self.cpu_before, now) if self.indexes else 0.0

    def _count(self, cpu_seconds: float, now: float) -> float:
        elapsed, self.sampled_at = max(0.0, now - self.sampled_at), now
        whole = elapsed * len(self.indexes)
        if self.kind == CUDA:
            return min(whole, elapsed * self.nvidia_busy)
        if self.kind != CPU:
            return whole
        new, self.counted_cpu = max(0.0, cpu_seconds - self.counted_cpu), max(self.counted_cpu, cpu_seconds)
        return min(whole, new / self.threads)


def waited_cpu_seconds() -> float:
    """CPU time of all children of this process that have ended and were waited for, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_cpu_seconds(pid: int) -> float:
    """CPU time of a process and all below it, with those that have ended."""
    try:
        root = psutil.Process(pid)
        return sum(_cpu_seconds(process) for process in (root, *root.children(recursive=True)))
    except psutil.Error:
        return 0.0


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def nvidia_busy(indexes: Sequence[int]) -> float:
    """How many devices' worth of the given ones are at work, 0 to their number; 0 where nvidia-smi does not answer."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", _joined(indexes)]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0.0
    return sum(float(line) / 100 for line in answer.split("\n") if line.strip().isdecimal())


def _joined(indexes: Sequence[int]) -> str:
    return ",".join(str(index) for index in indexes)
