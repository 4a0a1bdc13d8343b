"""The job kind ``tune``: children by every chain of passes, each tried on a real server in several ways, and the best of them."""

from __future__ import annotations

import logging
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import JobFailed, ModelyardError
from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.page import FILE, report_page
from modelyard.optimize.job import Context, children, keep_recipe, lay_out
from modelyard.optimize.pages import write_pages
from modelyard.optimize.spec import Made, Tolerance
from modelyard.optimize.tuning.halving import Standing, front, halve
from modelyard.optimize.tuning.server import Measured, TrialServer
from modelyard.optimize.tuning.spec import Objective, Tuned, TuneSpec, Way
from modelyard.optimize.work import ENTRY
from modelyard.train.cores import cores

logger = logging.getLogger(__name__)
_ANY = 10.0
"""Size and time are weighed by the objective and not by a child's verdict."""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """What a chain of passes made."""

    chain: tuple[str, ...]
    folder: Path
    """Of its files."""
    made: tuple[Made, ...]
    """Of the chain; nothing for the version as it is."""
    loss: float
    size: int


def run(context: Context) -> dict[str, Any]:
    """Gives ``made`` and ``tuning``; the files of the children on the way to the chosen one are in ``output/N``.

    Raises JobFailed when nothing can be served, and ModelyardError with one sentence for whatever the owner can mend.
    """
    spec = msgspec.convert(context.spec, TuneSpec)
    work = context.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(context.output, ignore_errors=True)
    made, refused = _children(context, spec, work)
    with ExitStack() as stack:
        context.report("serve", 0.4, "starting servers for the trials")
        servers = {count: stack.enter_context(TrialServer(spec.server, count, spec.load)) for count in spec.workers}
        standings = _tried(context, spec, made, servers)
    chosen = standings[0]
    child = made[chosen.candidate.chain]
    tuning = _report(spec, standings, made, refused)
    context.output.mkdir(parents=True, exist_ok=True)
    for at in range(max(1, len(child.made))):
        _keep(context, child, at)
    _draw(context.output / str(max(0, len(child.made) - 1)), tuning)
    if child.made:
        write_pages(context.output, spec.start, list(child.made), {"tuning": tuning})
    else:
        attachments = context.output / "0" / "attachments"
        (attachments / FILE).write_bytes(report_page(f"{spec.start.model}@{spec.start.number}", {}, {"tuning": tuning}, attachments))
    context.report("store", 0.97, f"storing {chosen.candidate.title}")
    shutil.rmtree(work, ignore_errors=True)
    found: dict[str, Any] = msgspec.to_builtins(Tuned(made=child.made, tuning=tuning))
    return found


def _children(context: Context, spec: TuneSpec, work: Path) -> tuple[dict[tuple[str, ...], Child], dict[str, str]]:
    """By chain; and of the chains that cannot be, or lose too much, why."""
    start = lay_out(context, spec.start, work / "start")
    size = sum(path.stat().st_size for path in start.rglob("*") if path.is_file())
    made: dict[tuple[str, ...], Child] = {(): Child(chain=(), folder=start, made=(), loss=0.0, size=size)}
    refused: dict[str, str] = {}
    tolerance = Tolerance(quality=spec.objective.max_loss, latency=_ANY, size=_ANY)
    for at, chain in enumerate(chain for chain in spec.chains if chain):
        title, place = " + ".join(chain), work / f"chain{at}"
        context.report("passes", 0.02 + 0.36 * at / len(spec.chains), f"applying {title}")
        try:
            steps = children(context, msgspec.structs.replace(spec.start, passes=chain, tolerance=tolerance), place, lambda *_: None)
        except ModelyardError as error:
            refused[title] = error.message
            continue
        report = steps[-1].report
        if not report["verdict"]["kept"]:
            refused[title] = "; ".join(report["verdict"]["reasons"])
            continue
        loss = report["quality"]["loss"]["value"] if report["quality"] else 0.0
        folder = place / "output" / str(len(steps) - 1) / "artifact"
        made[chain] = Child(chain=chain, folder=folder, made=tuple(steps), loss=loss, size=report["child"]["size_bytes"])
    return made, refused


def ways(chains: list[tuple[str, ...]], workers: tuple[int, ...], objective: Objective, machine: int) -> list[Way]:
    """Every way of running every child: in the workers or in processes of their own, with one thread or all, batches bounded or not."""
    bounded = {"objective_ms": objective.p99_ms}
    policies: list[dict[str, Any]] = [{}, bounded, {"replicas": {"min": 1, "max": 1, "threads": 1}}]
    if machine > 1:
        policies += [{"replicas": {"min": machine, "max": machine, "threads": 1}}, {"replicas": {"min": 1, "max": 1, "threads": machine}}]
    return [Way(chain=chain, workers=count, policy=policy) for chain in chains for count in workers for policy in policies]


def rank(measured: Measured, objective: Objective) -> tuple[float, ...]:
    """Smaller is better: what answers all in time by its throughput, everything else by how late it is."""
    if not measured.failed and measured.p99_ms <= objective.p99_ms:
        return (0.0, -measured.per_second)
    return (1.0 + (measured.failed > 0), measured.p99_ms)


def _tried(
    context: Context, spec: TuneSpec, made: dict[tuple[str, ...], Child], servers: dict[int, TrialServer]
) -> list[Standing[Way, Measured]]:
    candidates = ways(list(made), spec.workers, spec.objective, cores())
    count = 0

    def measure(way: Way, seconds: float) -> Measured:
        nonlocal count
        count += 1
        context.report("try", min(0.95, 0.45 + 0.5 * count / (2 * len(candidates) + 8)), way.title)
        server = servers[way.workers]
        try:
            version = server.deploy("trial", made[way.chain].folder / (spec.start.entry if not way.chain else ENTRY), way.policy)
            found = server.measure("trial", version, spec.objective.connections, seconds)
            server.undeploy("trial")
        except ModelyardError as error:
            found = Measured(p50_ms=float("inf"), p99_ms=float("inf"), per_second=0.0, failed=1, why=error.message)
        logger.info("%s: p99 %.3g ms, %.0f a second %s", way.title, found.p99_ms, found.per_second, found.why)
        return found

    standings = halve(candidates, measure, lambda measured: rank(measured, spec.objective), spec.objective.seconds)
    if not standings[0].measured.per_second:
        raise JobFailed(f"No way of running the model answered: {standings[0].measured.why}.")
    return standings


def _report(
    spec: TuneSpec, standings: list[Standing[Way, Measured]], made: dict[tuple[str, ...], Child], refused: dict[str, str]
) -> dict[str, Any]:
    rows = [
        {
            "passes": list(standing.candidate.chain),
            "workers": standing.candidate.workers,
            "policy": standing.candidate.policy,
            "title": standing.candidate.title,
            "loss": made[standing.candidate.chain].loss,
            "size_bytes": made[standing.candidate.chain].size,
            "rounds": standing.rounds,
            "seconds": standing.seconds,
        }
        | msgspec.to_builtins(standing.measured)
        for standing in standings
        if standing.measured.per_second
    ]
    best = front([(row["loss"], row["p99_ms"], row["size_bytes"]) for row in rows])
    chosen, measured = standings[0].candidate, standings[0].measured
    return {
        "objective": msgspec.to_builtins(spec.objective),
        "met": not measured.failed and measured.p99_ms <= spec.objective.p99_ms,
        "passes": list(chosen.chain),
        "workers": chosen.workers,
        "policy": chosen.policy,
        "measured": msgspec.to_builtins(measured),
        "tried": [row | {"best": at in best} for at, row in enumerate(rows)],
        "refused": refused,
    }


def _keep(context: Context, child: Child, at: int) -> None:
    place = context.output / str(at)
    source = child.folder if not child.made else child.folder.parent.parent / str(at) / "artifact"
    place.mkdir()
    shutil.copytree(source, place / "artifact")
    keep_recipe(context, place)


def _draw(child: Path, tuning: dict[str, Any]) -> None:
    (child / "attachments").mkdir(exist_ok=True)
    with Illustrator(child / "attachments") as illustrator:
        illustrator.draw("tuning", "tuning", tried=tuning["tried"], objective_ms=tuning["objective"]["p99_ms"])
        illustrator.finish()
