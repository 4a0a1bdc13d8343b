"""What the machine and the platform's processes use, now and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table, size
from modelyard.core.machine import MachineUsage, ProcessUsage, Resources
from modelyard.sdk.client import Client

app = typer.Typer(rich_markup_mode=None)
COLUMNS = ("part", "name", "workspace", "does", "pid", "CPU %", "memory", "threads", "reads/s", "writes/s", "GPU memory")
IDLE = ("idle", "iowait")


@app.callback()
def _group() -> None:
    """Resources."""


@app.command("top", epilog=examples("modelyard top", "modelyard top --once", "modelyard top --every 5", "modelyard top --json"))
def top(
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look for one interval and end.")] = False,
    as_json: Json = False,
) -> None:
    """Show what the machine, each process of the platform, each job and each replica use; ends with Ctrl-C.

    Rates are over the interval between two looks. In a pipe, with --once and with --json it looks for one interval and ends.
    """
    with connected() as client:
        looks = _looks(client, every)
        if as_json:
            before, after = next(looks)
            print_json({"seconds": (after.time_ns - before.time_ns) / 1e9, "before": before, "after": after})
        elif once or not sys.stdout.isatty():
            before, after = next(looks)
            for line in headlines(before, after):
                print(line)
            print()
            print_table(COLUMNS, rows(before, after))
        else:
            _watch(looks)


def _looks(client: Client, every: float) -> Iterator[tuple[Resources, Resources]]:
    """Pairs of what was seen, an interval apart."""
    before = client.platform.resources()
    while True:
        time.sleep(every)
        after = client.platform.resources()
        yield before, after
        before = after


def _watch(looks: Iterator[tuple[Resources, Resources]]) -> None:
    try:
        with Live(screen=True, auto_refresh=False) as live:
            for before, after in looks:
                table = Table(header_style="bold", show_edge=False, pad_edge=False)
                for name in COLUMNS:
                    table.add_column(name, overflow="ellipsis", no_wrap=True)
                for row in rows(before, after):
                    table.add_row(*(Text(str(cell)) for cell in row))
                live.update(Group(*map(Text, headlines(before, after)), "", table), refresh=True)
    except KeyboardInterrupt:
        return


def headlines(before: Resources, after: Resources) -> list[str]:
    """The machine in a few lines."""
    then, now, seconds = before.machine, after.machine, _seconds(before, after)
    used = now.memory_bytes - now.memory_available_bytes
    reads, writes = (_rate(getattr(then, name), getattr(now, name), seconds) for name in ("disk_read_bytes", "disk_written_bytes"))
    received, sent = (_rate(getattr(then, name), getattr(now, name), seconds) for name in ("network_received_bytes", "network_sent_bytes"))
    lines = [
        f"CPU {_busy(then, now):.0%} of {now.cores} cores, load {now.load:.2f}",
        f"memory {size(used)} of {size(now.memory_bytes)}, swap {size(now.swap_used_bytes)}",
        f"disk {size(now.disk_free_bytes)} free of {size(now.disk_bytes)}, reads {reads}, writes {writes}",
        f"network in {received}, out {sent}",
    ]
    for gpu in now.gpus:
        watts = f", {gpu.watts:.0f} W" if gpu.watts else ""
        lines.append(f"GPU {gpu.index} {gpu.name}: {gpu.busy:.0%}, memory {size(gpu.memory_used_bytes)} of {size(gpu.memory_bytes)}{watts}")
    if after.gpu_reason:
        lines.append(f"GPU: not reported, {after.gpu_reason}")
    return lines


def rows(before: Resources, after: Resources) -> list[Sequence[object]]:
    """Each process, in the order of the platform's parts; one that is new since the first look shows what it used altogether."""
    seconds = _seconds(before, after)
    earlier = {(usage.pid, usage.name): usage for usage in before.processes}
    return [_row(earlier.get((usage.pid, usage.name)), usage, seconds) for usage in after.processes]


def _row(then: ProcessUsage | None, now: ProcessUsage, seconds: float) -> Sequence[object]:
    cpu = now.cpu_seconds - (then.cpu_seconds if then else 0.0)
    return (
        now.part,
        now.name,
        now.workspace,
        now.about,
        now.pid,
        f"{max(cpu, 0.0) / seconds:.0%}".rstrip("%"),
        size(now.memory_bytes),
        now.threads,
        _rate(then.read_bytes if then else 0, now.read_bytes, seconds),
        _rate(then.written_bytes if then else 0, now.written_bytes, seconds),
        size(now.gpu_memory_bytes) if now.gpu_memory_bytes else "",
    )


def _seconds(before: Resources, after: Resources) -> float:
    return max((after.time_ns - before.time_ns) / 1e9, 1e-3)


def _busy(before: MachineUsage, after: MachineUsage) -> float:
    """The share of all cores' time that was not idle; time of guests is part of ``user`` already."""
    spent = {
        mode: after.cpu_seconds[mode] - before.cpu_seconds.get(mode, 0.0) for mode in after.cpu_seconds if not mode.startswith("guest")
    }
    total = sum(spent.values())
    return 1 - sum(spent.get(mode, 0.0) for mode in IDLE) / total if total > 0 else 0.0


def _rate(before: int, after: int, seconds: float) -> str:
    return f"{size(int(max(after - before, 0) / seconds))}/s"
