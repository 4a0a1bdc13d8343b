"""Measuring a deployment: how many calls it answers and how long they take, at growing numbers of connections."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import typer

from modelyard.cli.bench_load import LoadPlan, LoadResult
from modelyard.cli.bench_picture import Point, picture
from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, note, print_json, print_table
from modelyard.core.errors import Internal, InvalidRequest
from modelyard.core.tensors import Datatype
from modelyard.sdk.client import Client
from modelyard.sdk.settings import client_settings
from modelyard.sdk.wire import encode_call

app = typer.Typer(rich_markup_mode=None)
QUANTILES = (0.5, 0.9, 0.99, 0.999)
LOAD = (sys.executable, "-m", "modelyard.cli.bench_load")
SWEEP = [1, 2, 4, 8, 16, 32, 64]


@app.callback()
def _group() -> None:
    """Measuring."""


@app.command(
    "bench",
    epilog=examples(
        "modelyard bench penguins",
        "modelyard bench penguins --rows 32 -c 1 -c 8 -c 64 --seconds 10 --output penguins.svg",
        "modelyard bench penguins --body call.json --path /v1/deployments/penguins/predict",
    ),
)
def bench(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment.")],
    connections: Annotated[list[int], typer.Option("--connections", "-c", min=1, max=4096, help="Calls at once; may be repeated.")] = SWEEP,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time to measure at each number.")] = 5.0,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows of each made-up call.")] = 1,
    body: Annotated[Path | None, typer.Option(help="A file with the body to send, instead of made-up binary tensors.")] = None,
    path: Annotated[str, typer.Option(help="Where to send it; by default the Open Inference Protocol's path.")] = "",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that send; more than one for servers faster than one.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Where to put the picture of latency over throughput, as SVG.")] = None,
    as_json: Json = False,
) -> None:
    """Measure throughput and latency of a deployment. The calls are real: they count, and cost what calls cost."""
    with connected() as client:
        request = _request(client, deployment, path, rows, body)
        base = urlsplit(client.inference.address())
    measured = []
    for number in connections:
        plan = LoadPlan(
            host=base.hostname or "127.0.0.1",
            port=base.port or (443 if base.scheme == "https" else 80),
            tls=base.scheme == "https",
            request=request,
            connections=number,
            seconds=seconds,
            warm_seconds=min(1.0, seconds / 4),
        )
        measured.append(_row(number, _run(plan, min(processes, number))))
    if output is not None:
        points = [Point(row["connections"], row["per_second"], row["p50_ms"], row["p99_ms"]) for row in measured]
        output.write_text(picture(f"{deployment}, {rows} row(s) a call", points), encoding="utf-8")
        note(f"The picture is in {output}.")
    if as_json:
        print_json({"deployment": deployment, "rows": rows, "seconds": seconds, "measured": measured})
        return
    names = ["connections", "per_second", *[f"p{_label(share)}_ms" for share in QUANTILES], "max_ms", "refused", "failed"]
    print_table([name.replace("_", " ") for name in names], [[_shown(row[name]) for name in names] for row in measured])


def _request(client: Client, deployment: str, path: str, rows: int, body: Path | None) -> bytes:
    """A whole request: the given body, or made-up tensors that the deployment's signature allows."""
    headers = {"content-type": "application/json"}
    if body is not None:
        content = body.read_bytes()
    else:
        arrays, datatypes = _made_up(client, deployment, rows)
        content, headers = encode_call(arrays, datatypes, ())
    target = path or f"/v2/models/{deployment}/infer"
    if not target.startswith("/"):
        raise InvalidRequest(f"A path begins with a slash; {path!r} does not.")
    host = urlsplit(client.inference.address()).netloc
    lines = [
        f"POST {target} HTTP/1.1",
        f"host: {host}",
        f"authorization: Bearer {client_settings(client.url, None).key}",
        f"content-length: {len(content)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def _made_up(client: Client, deployment: str, rows: int) -> tuple[dict[str, Any], dict[str, Datatype]]:
    inputs = client.inference.describe(deployment)["inputs"]
    random = np.random.default_rng(0)
    arrays, datatypes = {}, {}
    for each in inputs:
        shape = [size if isinstance(size, int) and size >= 0 else 1 for size in each["shape"]]
        if each["shape"] and (not isinstance(each["shape"][0], int) or each["shape"][0] < 0):
            shape[0] = rows
        datatype = datatypes[each["name"]] = Datatype(each["datatype"])
        arrays[each["name"]] = _values(random, datatype, shape)
    return arrays, datatypes


def _values(random: np.random.Generator, datatype: Datatype, shape: Sequence[int]) -> Any:
    if datatype is Datatype.BYTES:
        return np.full(shape, "", dtype=object)
    if datatype.numpy.kind == "f":
        return random.random(shape).astype(datatype.numpy)
    return random.integers(0, 2, shape).astype(datatype.numpy)


def _run(plan: LoadPlan, processes: int) -> LoadResult:
    """The plan, shared between processes."""
    shares = [plan.connections // processes + (place < plan.connections % processes) for place in range(processes)]
    running = []
    for share in shares:
        process = subprocess.Popen(LOAD, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append((process, msgspec.json.encode(msgspec.structs.replace(plan, connections=share))))
    whole = LoadResult()
    for process, written in running:
        if process.stdin is not None:
            process.stdin.write(written)
            process.stdin.close()
    for process, _ in running:
        told = process.stdout.read() if process.stdout is not None else b""
        if process.wait():
            raise Internal(f"The process that sends calls ended with status {process.returncode}; its words are above.")
        part = msgspec.json.decode(told, type=LoadResult)
        whole.seconds = max(whole.seconds, part.seconds)
        whole.durations_us += part.durations_us
        whole.refused += part.refused
        whole.failed += part.failed
        whole.first_failure = whole.first_failure or part.first_failure
    if whole.failed and not whole.durations_us:
        raise InvalidRequest(f"No call was answered: {whole.first_failure}")
    if whole.failed:
        note(f"{whole.failed} calls failed; the first one: {whole.first_failure}")
    return whole


def _row(connections: int, result: LoadResult) -> dict[str, Any]:
    durations = np.sort(np.asarray(result.durations_us, np.int64)) / 1000
    row: dict[str, Any] = {"connections": connections, "per_second": len(durations) / result.seconds if result.seconds else 0.0}
    for share in QUANTILES:
        row[f"p{_label(share)}_ms"] = quantile(durations, share)
    return row | {"max_ms": quantile(durations, 1.0), "refused": result.refused, "failed": result.failed}


def quantile(ordered: Any, share: float) -> float:
    """The smallest value that at least this share of all does not exceed; 0 without any."""
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)]) if len(ordered) else 0.0


def _label(share: float) -> str:
    return f"{share * 100:g}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and value < 1000 else f"{value:.0f}"
