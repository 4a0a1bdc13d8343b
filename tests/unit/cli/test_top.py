"""How resources are shown."""

from __future__ import annotations

from modelyard.cli.top import headlines, rows
from modelyard.core.machine import Gpu, MachineUsage, Part, ProcessUsage, Resources

MIB = 2**20


def look(seconds: float, busy: float, *processes: ProcessUsage, gpu: bool = False) -> Resources:
    machine = MachineUsage(
        cores=2,
        cpu_seconds={"user": busy, "guest": busy, "idle": 2 * seconds - busy},
        load=0.5,
        memory_bytes=1024 * MIB,
        memory_available_bytes=256 * MIB,
        swap_used_bytes=0,
        disk_bytes=100 * MIB,
        disk_free_bytes=40 * MIB,
        disk_read_bytes=int(seconds * MIB),
        disk_written_bytes=0,
        network_received_bytes=0,
        network_sent_bytes=int(seconds * 2 * MIB),
        gpus=(Gpu(index=0, name="G", busy=0.5, memory_bytes=8 * MIB, memory_used_bytes=MIB, watts=70.4),) if gpu else (),
    )
    return Resources(time_ns=int(seconds * 1e9), machine=machine, processes=processes, gpu_reason="" if gpu else "none")


def process(pid: int, cpu: float, *, read: int = 0, gpu: int = 0) -> ProcessUsage:
    return ProcessUsage(
        part=Part.WORKER,
        name=f"worker-{pid}",
        pid=pid,
        processes=1,
        threads=3,
        cpu_seconds=cpu,
        memory_bytes=5 * MIB,
        read_bytes=read,
        written_bytes=0,
        gpu_memory_bytes=gpu,
    )


def test_rates_are_over_the_interval_between_two_looks() -> None:
    before, after = look(10, 4.0, process(1, 2.0, read=MIB)), look(12, 5.0, process(1, 3.0, read=5 * MIB))
    assert headlines(before, after) == [
        "CPU 25% of 2 cores, load 0.50",
        "memory 768.0 MiB of 1.0 GiB, swap 0 B",
        "disk 40.0 MiB free of 100.0 MiB, reads 1.0 MiB/s, writes 0 B/s",
        "network in 0 B/s, out 2.0 MiB/s",
        "GPU: not reported, none",
    ]
    [row] = rows(before, after)
    assert row[:6] == (Part.WORKER, "worker-1", "", "", 1, "50")
    assert row[6:] == ("5.0 MiB", 3, "2.0 MiB/s", "0 B/s", "")


def test_a_process_that_is_new_shows_what_it_used_altogether() -> None:
    [row] = rows(look(10, 0), look(12, 0, process(4, 1.0, gpu=2 * MIB)))
    assert (row[5], row[10]) == ("50", "2.0 MiB")


def test_gpus_have_a_line_each() -> None:
    assert headlines(look(1, 0, gpu=True), look(2, 0, gpu=True))[-1] == "GPU 0 G: 50%, memory 1.0 MiB of 8.0 MiB, 70 W"


def test_two_looks_at_the_same_moment_divide_by_no_zero() -> None:
    same = look(1, 0, process(1, 0))
    assert rows(same, same)[0][5] == "0"
    assert headlines(same, same)[0].startswith("CPU 0%")
