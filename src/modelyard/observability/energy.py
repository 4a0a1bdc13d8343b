"""What the machine's counters say of energy, and how much of it a second of computing stands for.

Processors: the kernel's powercap tree (RAPL of Intel and AMD), one counter for each package. GPUs: NVML, where its Python package is
installed. Where neither says anything nothing is reported; nothing is ever estimated from nameplates.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modelyard.observability.gpus import management_library

POWERCAP = Path("/sys/class/powercap")
Read = Callable[[], dict[str, int]]


def rapl_counters(root: Path = POWERCAP) -> dict[str, int]:
    """Microjoules by package, as far as they may be read; counters of what a package consists of are in its own already."""
    found = {}
    for zone in sorted(root.glob("*rapl:*")):
        name = _text(zone / "name")
        energy = _text(zone / "energy_uj")
        if zone.name.count(":") == 1 and name.startswith("package") and energy.isdecimal():
            found[zone.name] = int(energy)
    return found


def gpu_counters() -> dict[str, int]:
    """Microjoules by GPU; none where NVML or its Python package (nvidia-ml-py) is not there."""
    with management_library() as (nvml, _):
        if nvml is None:
            return {}
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
            return {f"gpu:{number}": 1000 * int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) for number, handle in enumerate(handles)}
        except nvml.NVMLError:  # older GPUs do not count
            return {}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # newer kernels let only root read it
        return ""


def busy_us() -> int:
    """Microseconds for which the machine's processors have worked, over all cores."""
    import psutil  # only where the machine reports energy

    times = psutil.cpu_times()
    return round(1e6 * (sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)))


class EnergyMeter:
    """Says how much energy computing took since the last time it was asked. Belongs to one thread."""

    def __init__(self, root: Path = POWERCAP, *, gpus: Read = gpu_counters, busy: Callable[[], int] = busy_us) -> None:
        self._root, self._gpus, self._busy = root, gpus, busy
        self._before = self._counters()
        self._busy_before = busy() if self._before else 0

    def per_compute_us(self, compute_us: int) -> float:
        """Microjoules for each microsecond that models computed, when they computed so many since the last time; 0 where the machine
        does not report energy.

        The machine's energy is spread over all that its processors did, so what other programs used is not put on models.
        """
        now = self._counters()
        if not now:
            self._before = {}
            return 0.0
        used = sum(self._since(name, value) for name, value in now.items() if name in self._before)
        busy_now = self._busy()
        worked = max(busy_now - self._busy_before, compute_us)
        self._before, self._busy_before = now, busy_now
        return used / worked if worked > 0 else 0.0

    def _counters(self) -> dict[str, int]:
        return rapl_counters(self._root) | self._gpus()

    def _since(self, name: str, value: int) -> int:
        before = self._before[name]
        if value >= before:
            return value - before
        # The counter began anew at the end of its range; one that does not say its range was reset.
        most = _text(self._root / name / "max_energy_range_uj")
        return value + int(most) - before if most.isdecimal() and int(most) >= before else value
