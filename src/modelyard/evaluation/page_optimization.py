"""The sections about what a version was made of, what that cost, and how it is to be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from modelyard.evaluation.page_parts import Section, facts, number, section, table


def optimization_sections(report: Mapping[str, Any]) -> Iterable[Section]:
    """Nothing for a version that no pass has made."""
    optimization = report.get("optimization")
    if isinstance(optimization, Mapping) and "verdict" in optimization:
        yield section("Beside its parent", _verdict(optimization) + _table(optimization) + _difference(optimization))
        notes = optimization.get("notes") or {}
        if content := _notes(notes):
            yield section("What the pass did", content)
    tuning = report.get("tuning")
    if isinstance(tuning, Mapping):
        yield section("Tuning", _tuning(tuning))


def _verdict(report: Mapping[str, Any]) -> str:
    verdict, written = report["verdict"], escape(str(report.get("pass", "")))
    if verdict["kept"]:
        return f'<p class="kept">{written}: kept. It loses no more than was tolerated.</p>'
    return f'<p class="flagged">{written}: flagged, and takes no alias. {escape("; ".join(verdict["reasons"]))}</p>'


def _table(report: Mapping[str, Any]) -> str:
    parent, child, quality = report["parent"], report["child"], report.get("quality")
    rows: list[Sequence[object]] = [
        (name, *(f"{side[key]:,}" for side in (parent, child))) for name, key in (("bytes", "size_bytes"), ("operators", "nodes"))
    ]
    for batch in ("batch_1", "batch_32"):
        if batch in parent:
            told = "one row" if batch == "batch_1" else "32 rows"
            rows += [
                (f"{told}, {name}", *(f"{side[batch][key]:,.0f} µs" for side in (parent, child)))
                for name, key in (("p50", "p50_us"), ("p99", "p99_us"))
            ]
            rows.append((f"{told}, rows a second of one thread", *(f"{side[batch]['rows_per_second']:,.0f}" for side in (parent, child))))
    if "peak_memory_bytes" in parent and "peak_memory_bytes" in child:
        rows.append(("most memory, loaded and called", *(f"{side['peak_memory_bytes']:,}" for side in (parent, child))))
    if quality:
        for side in ("value", "low", "high"):
            title = {"value": quality["metric"].replace("_", " "), "low": "95 % from", "high": "to"}[side]
            rows.append((title, *(number(quality[whose][side]) for whose in ("parent", "child"))))
        loss = quality["loss"]
        rows.append(("quality lost", "", f"{number(loss['value'])} ({number(loss['low'])} to {number(loss['high'])})"))
    return table(("", str(report.get("compared_with") or "parent"), "child"), rows)


def _difference(report: Mapping[str, Any]) -> str:
    rows = [
        (name, number(entry.get("largest")), number(entry.get("relative")), number(entry.get("agreement")))
        for name, entry in (report.get("difference") or {}).items()
    ]
    return table(("output", "largest difference", "relative to its size", "share of equals"), rows) if rows else ""


def _notes(notes: Mapping[str, Any]) -> str:
    parts: list[str] = []
    if int8 := notes.get("int8"):
        parts.append(_int8(int8))
    if kept := notes.get("weights_kept"):
        matrices = ", ".join(f"{count} matrices {kind}" for kind, count in kept["matrices"].items())
        parts.append(f"<p>Weights are kept in whole numbers: {escape(matrices)}.</p>")
    if weights := notes.get("weights"):
        parts.append(f"<p>{weights['not_zero']:,} of {weights['all']:,} weights are not zero.</p>")
        parts.append(table(("layer", "weights that are not zero"), [(name, f"{count:,}") for name, count in weights["layers"].items()]))
    if steps := notes.get("finetuning"):
        rows = [
            (step["step"], step["epochs"], f"{step['rows']:,}", *(number(step[key]) for key in ("loss_before", "loss_after")))
            for step in steps
        ]
        parts.append("<p>Fine-tuning, judged on rows set aside from the training rows:</p>")
        parts.append(table(("step", "epochs", "rows", "loss before", "loss after"), rows))
    if taught := notes.get("distillation"):
        rows = taught["rows"]
        told = [
            ("hidden layers", ", ".join(map(str, taught["student"]["hidden"]))),
            ("weights", f"{taught['student']['weights']:,}"),
            ("temperature, mixing", f"{taught['temperature']:g}, {taught['mixing']:g}"),
            ("rows with and without a right answer", f"{rows['labelled']:,}, {rows['unlabelled']:,}"),
            ("best of the epochs", f"{taught['best_epoch']} of {taught['epochs']}"),
        ]
        parts.append(facts(told))
    return "".join(parts)


def _int8(notes: Mapping[str, Any]) -> str:
    left_out = notes.get("left_out") or []
    told = f"{notes['quantized']} layers are quantized; the loss on training rows is {number(notes['loss_on_training_rows'])}."
    variants = [
        (row["variant"], f"{row['microseconds']:,.1f} µs", number(row["loss_on_training_rows"])) for row in notes.get("variants", ())
    ]
    variants += [(title, "", reason) for title, reason in notes.get("refused_variants", {}).items()]
    measured = table(("variant", "processor time of a call", "loss on training rows"), variants) if variants else ""
    if not left_out:
        return f"<p>{escape(told)} None had to be left out.</p>" + measured
    rows = [(row["node"], row["operator"], number(row["damage"]), number(row["loss_without_it"])) for row in left_out]
    told += f" With all of them it was {number(notes['loss_of_all'])}, so these were left as they are:"
    return f"<p>{escape(told)}</p>" + table(("layer", "operator", "damage alone", "loss without it"), rows) + measured


def _tuning(tuning: Mapping[str, Any]) -> str:
    objective = tuning["objective"]
    met = "is kept" if tuning["met"] else "is not kept by anything that was tried; this comes nearest"
    told = f"The objective of a p99 of {objective['p99_ms']:g} ms at {objective['connections']} calls at once {met}."
    rows = [
        (
            ("* " if row["best"] else "") + row["title"],
            *(number(float(row[key])) for key in ("p50_ms", "p99_ms")),
            f"{row['per_second']:,.0f}",
            number(float(row["loss"])),
            f"{row['size_bytes']:,}",
            row["rounds"],
        )
        for row in tuning["tried"]
    ]
    refused = [(name, why) for name, why in tuning.get("refused", {}).items()]
    return (
        f"<p>{escape(told)} A star: nothing else is better in quality, latency and size at once.</p>"
        + table(("way of running", "p50 ms", "p99 ms", "calls a second", "quality lost", "bytes", "rounds"), rows)
        + (table(("not tried", "why"), refused) if refused else "")
    )
