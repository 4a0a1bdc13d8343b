"""GPUs, by a stand-in for the management library: machines with a GPU are rare."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from modelyard.observability import gpus
from modelyard.observability.energy import gpu_counters
from modelyard.observability.gpus import read_gpus


class NVMLError(Exception):
    """What the library raises."""


def library(*, driver: bool = True) -> ModuleType:
    """Two devices, of which the second tells neither power nor use."""

    def init() -> None:
        if not driver:
            raise NVMLError("Driver Not Loaded")

    def only_first(value):
        def ask(handle):
            if handle == 1:
                raise NVMLError("Not Supported")
            return value

        return ask

    made = ModuleType("pynvml")
    made.NVMLError = NVMLError
    made.nvmlInit = init
    made.closed = 0

    def close() -> None:
        made.closed += 1

    made.nvmlShutdown = close
    made.nvmlDeviceGetCount = lambda: 2
    made.nvmlDeviceGetHandleByIndex = lambda at: at
    made.nvmlDeviceGetName = lambda handle: b"first" if handle == 0 else "second"
    made.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(total=100, used=40 + handle)
    made.nvmlDeviceGetUtilizationRates = only_first(SimpleNamespace(gpu=25))
    made.nvmlDeviceGetPowerUsage = only_first(70_500)
    running = [SimpleNamespace(pid=7, usedGpuMemory=30), SimpleNamespace(pid=8, usedGpuMemory=None)]
    made.nvmlDeviceGetComputeRunningProcesses = lambda handle: running
    return made


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    def install(made: ModuleType) -> ModuleType:
        monkeypatch.setitem(sys.modules, "pynvml", made)
        monkeypatch.setattr(gpus, "find_spec", lambda name: object())
        return made

    return install


def test_each_device_tells_what_it_can(installed) -> None:
    made = installed(library())
    found = read_gpus()
    assert [(gpu.index, gpu.name, gpu.busy, gpu.memory_used_bytes, gpu.watts) for gpu in found.gpus] == [
        (0, "first", 0.25, 40, 70.5),
        (1, "second", 0.0, 41, 0.0),
    ]
    assert found.memory == {7: 60, 8: 0}
    assert found.reason == ""
    assert made.closed == 1


def test_energy_is_counted_where_every_device_counts(installed) -> None:
    made = installed(library())
    made.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 5 + handle
    assert gpu_counters() == {"gpu:0": 5_000, "gpu:1": 6_000}

    def refuse(handle):
        raise NVMLError("Not Supported")

    made.nvmlDeviceGetTotalEnergyConsumption = refuse
    assert gpu_counters() == {}
    assert made.closed == 2
    installed(library(driver=False))
    assert gpu_counters() == {}


def test_without_a_driver_the_reason_is_told(installed) -> None:
    installed(library(driver=False))
    assert read_gpus() == ((), {}, "NVIDIA's management library cannot be used: Driver Not Loaded")


def test_without_the_library_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "find_spec", lambda name: None)
    assert "modelyard[gpu]" in read_gpus().reason
