"""What a machine is doing at the moment: load, memory, disk, network, and each device. Nothing is judged here."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from workers.devices import DriverSilent, ask_nvidia, usable_cpus

NVIDIA_FIELDS = ("index", "utilization.gpu", "memory.used", "temperature.gpu", "ecc.errors.uncorrected.volatile.total")


@dataclass(frozen=True)
class DeviceUse:
    """One device now. `temperature` in degrees Celsius and `errors`, uncorrected ones of its memory since the machine
    was started, are None where the device does not tell."""

    kind: str
    index: int
    busy_fraction: float = 0.0
    memory_used_bytes: int = 0
    temperature: float | None = None
    errors: int | None = None


@dataclass(frozen=True)
class Measured:
    """One look at the machine. Rates are per second since the look before; `driver_error` is what the NVIDIA driver
    said instead of an answer."""

    load_per_core: float = 0.0
    memory_bytes: int = 0
    memory_available_bytes: int = 0
    storage_bytes: int = 0
    storage_free_bytes: int = 0
    network_in: float = 0.0
    network_out: float = 0.0
    devices: tuple[DeviceUse, ...] = ()
    driver_error: str = ""


@dataclass
class Measurer:
    """Looks at this machine again and again; `folder` lies on the disk that jobs use."""

    folder: Path
    network: tuple[int, int] = (0, 0)
    looked_at: float = field(default=0.0)

    def __post_init__(self) -> None:
        psutil.cpu_percent()  # the first answer means nothing: it counts since the call before
        self._network_rates()

    def look(self) -> Measured:
        memory, disk = psutil.virtual_memory(), shutil.disk_usage(self.folder)
        rate_in, rate_out = self._network_rates()
        devices, driver_error = self._devices(memory)
        return Measured(
            load_per_core=psutil.getloadavg()[0] / usable_cpus(),
            memory_bytes=memory.total,
            memory_available_bytes=memory.available,
            storage_bytes=disk.total,
            storage_free_bytes=disk.free,
            network_in=rate_in,
            network_out=rate_out,
            devices=devices,
            driver_error=driver_error,
        )

    def _devices(self, memory) -> tuple[tuple[DeviceUse, ...], str]:
        cpu = DeviceUse("cpu", 0, psutil.cpu_percent() / 100, memory.total - memory.available)
        try:
            return (cpu, *nvidia_uses(ask_nvidia(*NVIDIA_FIELDS))), ""
        except DriverSilent as error:
            return (cpu,), str(error)

    def _network_rates(self) -> tuple[float, float]:
        """Bytes per second in and out since the last call, over all interfaces but the machine's talk with itself."""
        counters = psutil.net_io_counters(pernic=True)
        real = [counter for name, counter in counters.items() if not name.startswith("lo")]
        now = (sum(item.bytes_recv for item in real), sum(item.bytes_sent for item in real))
        moment = time.monotonic()
        seconds, self.looked_at = moment - self.looked_at, moment
        before, self.network = self.network, now
        return max(0, now[0] - before[0]) / max(seconds, 0.1), max(0, now[1] - before[1]) / max(seconds, 0.1)


def nvidia_uses(rows: Iterable[list[str]]) -> Iterable[DeviceUse]:
    """From nvidia-smi's rows of NVIDIA_FIELDS; what a device does not tell it answers with a word in brackets."""
    for index, busy, memory, temperature, errors in rows:
        yield DeviceUse(
            "cuda",
            int(index),
            (_number(busy) or 0.0) / 100,
            int((_number(memory) or 0.0) * 2**20),
            _number(temperature),
            None if _number(errors) is None else int(_number(errors)),
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
