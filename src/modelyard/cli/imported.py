"""What an import did, in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.cli.output import print_table


def print_import(report: Any) -> None:
    """The table of a version that came from another format; nothing for others."""
    if isinstance(report, Mapping):
        print("\nimport")
        print_table(["step", "result"], list(_steps(report)))


def _steps(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "recognised", str(report.get("title", ""))
    findings = [f"{item.get('name')} in {item.get('file')}" for item in report.get("findings", ()) if isinstance(item, Mapping)]
    yield "scanned", f"unknown: {', '.join(findings)}" if findings else "nothing unknown"
    yield "opened in", ", ".join(map(str, report.get("confinement", ())))
    reason = str(report.get("reason") or "")
    yield ("served", str(report.get("how", ""))) if reason else ("converted", str(report.get("how", "")))
    if reason:
        yield "because", reason
    proof = report.get("proof", {})
    if isinstance(proof, Mapping) and proof:
        count = next((f"{proof[unit]} {unit} " for unit in ("rows", "positions") if proof.get(unit)), "")  # positions of a language model
        yield "compared on", f"{count}{proof.get('source')}"
        yield from _agreement(proof.get("outputs", {}), "")
        missing = proof.get("missing_values")
        if isinstance(missing, Mapping):
            yield from _agreement(missing, ", values missing")
        elif missing:
            yield "missing values", str(missing)
    before, after = report.get("before_us", 0.0), report.get("after_us", 0.0)
    if before and after:
        yield "one row", f"{before / 1000:.3g} ms before, {after / 1000:.3g} ms after ({before / after:.3g} x)"
    elif reason and after:
        yield "one row", f"{after / 1000:.3g} ms"
    for note in report.get("notes", ()):
        yield "note", str(note)


def _agreement(outputs: Any, where: str) -> Iterator[tuple[str, str]]:
    for name, facts in outputs.items() if isinstance(outputs, Mapping) else ():
        if "agreement" in facts:
            yield f"{name}{where}", f"{facts['agreement']:.2%} equal"
        else:
            yield (
                f"{name}{where}",
                f"error {facts['error_p50']:.2g} median, {facts['error_p99']:.2g} at 99 %, {facts['error_max']:.2g} at most",
            )
