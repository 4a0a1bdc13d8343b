"""The page of each child, with its pictures: drawn by the job, from numbers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.evaluation.illustrator import Illustrator
from modelyard.evaluation.page import FILE, report_page
from modelyard.optimize.spec import Made, OptimizeSpec


def write_pages(output: Path, spec: OptimizeSpec, made: list[Made], more: dict[str, Any]) -> None:
    """Into ``output/N/attachments``; ``more`` goes into the last one's.

    Pictures want Matplotlib, which whoever trained here or judged by labels has: it comes with the same extra.
    """
    places = [Path(str(at)) / "attachments" for at in range(len(made))]
    for place in places:
        (output / place).mkdir(exist_ok=True)
    if spec.rows is not None or (spec.samples is not None and spec.samples.target):
        with Illustrator(output) as illustrator:
            for at, place in enumerate(places):
                _draw(illustrator, place, spec, made[: at + 1])
            illustrator.finish()
    for at, (child, place) in enumerate(zip(made, places, strict=True)):
        compared = f"{spec.model}@{spec.number}"
        report = {"optimization": {"pass": child.written, "compared_with": compared} | child.report, "evaluation": child.evaluation}
        report |= {"rows": {"held_out": child.report["quality"]["rows"]}} if child.report["quality"] else {}
        title = f"{compared} + {' + '.join(step.written for step in made[: at + 1])}"
        page = report_page(title, child.metrics, report | (more if at == len(made) - 1 else {}), output / place)
        (output / place / FILE).write_bytes(page)


def family_rows(parent: str, made: list[Made]) -> list[dict[str, Any]]:
    """The version and its children, for the picture of a family."""
    first = made[0].report
    quality = first["quality"]
    rows = [_row(parent, first["parent"], quality["parent"]["value"] if quality else None, kept=True)]
    for child in made:
        found = child.report["quality"]
        value = found["child"]["value"] if found else None
        rows.append(_row(child.written, child.report["child"], value, kept=child.report["verdict"]["kept"]))
    return rows


def _row(title: str, facts: dict[str, Any], quality: float | None, *, kept: bool) -> dict[str, Any]:
    return {"title": title, "size_bytes": facts["size_bytes"], "p50_us": facts["batch_1"]["p50_us"], "quality": quality, "kept": kept}


def _draw(illustrator: Illustrator, place: Path, spec: OptimizeSpec, made: list[Made]) -> None:
    quality, evaluation = made[-1].report["quality"], made[-1].evaluation
    rows = family_rows(f"{spec.model}@{spec.number}", made)
    illustrator.draw("family", str(place / "family"), rows=rows, metric=quality["metric"] if quality else "")
    if "confusion_matrix" in evaluation:
        found = evaluation["confusion_matrix"]
        told = f"{quality['rows']:,} held-out rows"
        names = found["classes"]
        illustrator.draw("confusion", str(place / "confusion_matrix"), counts=found["counts"], names=names, title=told)
        illustrator.draw("calibration", str(place / "calibration"), **evaluation["calibration"])
