"""What this machine has. torch is not imported: NVIDIA devices are asked for through nvidia-smi."""

import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path

import psutil

NVIDIA_SECONDS = 5


class DriverSilent(Exception):
    """nvidia-smi is there and does not answer, or answers with an error; the message is what it said."""


def machine_facts(home: Path) -> dict:
    """cpu_count, memory_bytes, storage_free_bytes, and devices: the accelerators, or the CPU where there are none."""
    memory = psutil.virtual_memory().total
    cpu = {"kind": "cpu", "index": 0, "name": cpu_name(), "memory_bytes": memory}
    return {
        "cpu_count": usable_cpus(),
        "memory_bytes": memory,
        "storage_bytes": shutil.disk_usage(home).total,
        "storage_free_bytes": shutil.disk_usage(home).free,
        "devices": nvidia_devices() or [cpu],
    }


def usable_cpus() -> int:
    """The cores this process may run on, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def address_towards(host: str) -> str:
    """The address of this machine by which packets to `host` leave it; nothing is sent. The loopback address where
    `host` cannot be told."""
    try:
        family, kind, _protocol, _name, there = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(there)
            return probe.getsockname()[0]
    except OSError:
        return "127.0.0.1"


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def nvidia_devices() -> list[dict]:
    try:
        rows = ask_nvidia("index", "name", "memory.total")
    except DriverSilent:
        return []
    return [_nvidia_device(*row) for row in rows]


def ask_nvidia(*fields: str) -> list[list[str]]:
    """One row of `fields` for each NVIDIA device; none where there is no driver. Raises DriverSilent."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverSilent(str(error)) from error
    if answer.returncode:
        raise DriverSilent((answer.stderr or answer.stdout).strip()[:200])
    return [[part.strip() for part in line.split(",")] for line in answer.stdout.strip().splitlines()]


def _nvidia_device(index: str, name: str, memory: str) -> dict:
    return {"kind": "cuda", "index": int(index), "name": name, "memory_bytes": int(memory) * 2**20}
