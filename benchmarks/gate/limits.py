"""What the gate costs a call: without limits, with one, with three; and what three limits cost the whole product.

usage: python benchmarks/gate/limits.py [--rounds 3] [--seconds 4]      (--seconds 0 leaves the product out)

The first table is authenticate + admit + settle in one process, microseconds, the best of seven repeats. The second is the `mlp`
model over 32 connections with two keys of one platform in turn: one without limits, one with three. Writes benchmarks/out/gate.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "serve")]
from measure import Load, open_inference, rows_of, wrk  # noqa: E402  # beside this folder, not installed
from platform_under_test import platform  # noqa: E402

from modelyard.core.access import Action, Key  # noqa: E402  # after the path
from modelyard.core.deployments import ServedDeployment  # noqa: E402
from modelyard.core.inference import Cost  # noqa: E402
from modelyard.core.limits import Measure, Scope, ServedLimit, Window  # noqa: E402
from modelyard.core.usage import CallKind, ProtocolId  # noqa: E402
from modelyard.gate.check import Gate, SnapshotHolder  # noqa: E402
from modelyard.gate.counters import Counters  # noqa: E402
from modelyard.gate.journal import Journal  # noqa: E402
from modelyard.gate.limiter import Limiter  # noqa: E402
from modelyard.store.snapshot import SnapshotReader, SnapshotState, SnapshotWriter  # noqa: E402

SECRET = b"my_abc_0123456789"
SCOPES = ((Scope.KEY, 1), (Scope.DEPLOYMENT, 1), (Scope.WORKSPACE, 1))


def gate_us(folder: Path, limits: int, measure: Measure = Measure.REQUESTS) -> float:
    """Microseconds of one call's gate under so many limits."""
    state = SnapshotState(
        workspaces={1: "default"},
        deployments=(ServedDeployment(id=1, workspace_id=1, name="iris", revision=1, routes=()),),
        versions=(),
        keys=(Key(id=1, workspace_id=1, public_id="abc", digest=hashlib.sha256(SECRET).hexdigest()),),
        limits=tuple(
            ServedLimit(
                id=n, revision=1, scope=scope, subject_id=subject, subject="x", measure=measure, window=Window.SECOND, amount=10**12
            )
            for n, (scope, subject) in enumerate(SCOPES[:limits], 1)
        ),
    )
    writer = SnapshotWriter(folder / "snapshot")
    writer.publish(state)
    writer.close()
    journal = Journal(folder / "journal", bytes(16), 0)
    limiter = Limiter(Counters(folder / "limits"))
    gate = Gate(SnapshotHolder(SnapshotReader(folder / "snapshot").load()), journal, None, limiter)
    headers, request_id, cost = {b"authorization": b"Bearer " + SECRET}, bytes(16), Cost(rows=1, compute_us=50)

    def call() -> None:
        grant = gate.authenticate(headers, "", "127.0.0.1")
        permit = gate.admit(grant, Action.INFER, "iris", request_id, CallKind.INFER)
        permit.settle(200, cost, ProtocolId.OPEN_INFERENCE_REST, CallKind.INFER, 100, 100)

    best = min(timeit.repeat(call, number=20_000, repeat=7)) / 20_000 * 1e6
    limiter.close()
    journal.close()
    return round(best, 2)


def product(rounds: int, seconds: int) -> dict[str, float]:
    """Requests per second of the product without and with three limits, interleaved, and the median of per-round ratios."""
    with tempfile.TemporaryDirectory() as folder, platform() as ours:
        subprocess.run([sys.executable, str(HERE.parent / "models.py"), folder], check=True, stdout=subprocess.DEVNULL)
        ours.json("push", str(Path(folder) / "mlp.onnx"), "--name", "mlp")
        for name in ("free", "bound"):
            ours.json("deploy", "mlp@1", "--name", name)
        keys = {name: ours.json("keys", "create", "--deployment", name) for name in ("free", "bound")}
        for scope in (("--key", keys["bound"]["id"]), ("--deployment", "bound")):
            ours.json("limits", "set", *scope, "1000000/s")
        ours.json("limits", "set", "--deployment", "bound", "10000000000/day")
        loads = {}
        for name, key in keys.items():
            headers, body = open_inference("mlp", rows_of("mlp", 1), binary=False)
            headers["authorization"] = f"Bearer {key['key']}"
            loads[name] = Load(f"{ours.inference}/v2/models/{name}/infer", headers, body, 32)
            wrk(loads[name], 2)
        found = [{name: wrk(load, seconds)["rps"] for name, load in loads.items()} for _ in range(rounds)]
    middle = {f"{name}_rps": round(statistics.median(one[name] for one in found)) for name in loads}
    return middle | {"ratio": round(statistics.median(one["bound"] / one["free"] for one in found), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    table: dict[str, object] = {}
    cases = (("none", 0, Measure.REQUESTS), ("one", 1, Measure.REQUESTS), ("three", 3, Measure.REQUESTS), ("three_rows", 3, Measure.ROWS))
    for name, limits, measure in cases:
        with tempfile.TemporaryDirectory() as folder:
            table[f"{name}_us"] = gate_us(Path(folder), limits, measure)
            print(f"gate, limits: {name}: {table[f'{name}_us']} us", flush=True)
    if options.seconds:
        table["product"] = product(options.rounds, options.seconds)
        print(table["product"], flush=True)
    (HERE.parent / "out").mkdir(exist_ok=True)
    (HERE.parent / "out" / "gate.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
