"""GPUs through NVIDIA's management library, where its Python package (extra ``gpu``) and a driver are there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from modelyard.core.machine import Gpu

LIBRARY = "pynvml"


class Found(NamedTuple):
    """What was found: GPUs, memory by process id, and why there is nothing where something could not be asked."""

    gpus: tuple[Gpu, ...]
    memory: dict[int, int]
    reason: str = ""


@contextmanager
def management_library() -> Iterator[tuple[Any, str]]:
    """The library, opened, and ``""``; or None and why it cannot be used. What it raises inside the block is left to the caller."""
    if find_spec(LIBRARY) is None:
        yield None, "the Python package nvidia-ml-py is not installed (pip install 'modelyard[gpu]')"
        return
    nvml = import_module(LIBRARY)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:  # no driver
        yield None, f"NVIDIA's management library cannot be used: {error}"
        return
    try:
        yield nvml, ""
    finally:
        nvml.nvmlShutdown()


def read_gpus() -> Found:
    """All GPUs of this machine; none, with a reason, where nobody can be asked."""
    with management_library() as (nvml, reason):
        if nvml is None:
            return Found((), {}, reason)
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(at) for at in range(nvml.nvmlDeviceGetCount())]
            memory: dict[int, int] = {}
            for handle in handles:
                for process in _told(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle, ()):
                    memory[process.pid] = memory.get(process.pid, 0) + (process.usedGpuMemory or 0)
            return Found(tuple(_gpu(nvml, at, handle) for at, handle in enumerate(handles)), memory)
        except nvml.NVMLError as error:
            return Found((), {}, f"the driver does not answer: {error}")


def _gpu(nvml: Any, index: int, handle: Any) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    rates = _told(nvml, nvml.nvmlDeviceGetUtilizationRates, handle, None)
    return Gpu(
        index=index,
        name=name.decode() if isinstance(name, bytes) else name,
        busy=rates.gpu / 100 if rates is not None else 0.0,
        memory_bytes=memory.total,
        memory_used_bytes=memory.used,
        watts=_told(nvml, nvml.nvmlDeviceGetPowerUsage, handle, 0) / 1000,
    )


def _told(nvml: Any, question: Any, handle: Any, otherwise: Any) -> Any:
    """The answer to a question that not every device can answer."""
    try:
        return question(handle)
    except nvml.NVMLError:
        return otherwise
