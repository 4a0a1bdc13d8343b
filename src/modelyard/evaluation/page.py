"""The report of a version as one HTML page that needs nothing else: no script, no style sheet, no picture from elsewhere.

Everything that comes from a model, a data set or a person is text here, whatever it looks like; pictures are embedded as images, in which
nothing runs.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from modelyard.core.models import REPORT
from modelyard.evaluation.page_optimization import optimization_sections
from modelyard.evaluation.page_parts import Section, cell, facts, number, section, table
from modelyard.evaluation.page_profile import profile_section

FILE = REPORT
_CAPTIONS: Mapping[str, str] = {
    "confusion_matrix": "Held-out rows: true classes down, predicted ones across; colours are shares of the true class.",
    "residuals": "Predicted against true on held-out rows, and how far apart they are.",
    "calibration": "How often the chosen class was right, against the probability that it was given; dotted: as promised.",
    "learning_curves": "Loss and score over the epochs; the dotted line is the epoch whose weights were kept.",
    "data_profile": "The data: classes and values in each side of the split.",
    "leaderboard": "Model families by their score over the folds, with its deviation; the chosen one is red.",
    "scores_by_rows": "The chosen family's score by the rows that it learnt from; where it still improves at the end, more would help.",
    "hardest_images": "Held-out images that are hardest: true class, predicted class and its probability.",
    "family": "The version and what was made of it: size, time of a call and quality. Grey ones are flagged.",
    "tuning": "Trials: time of a call across, quality lost upwards, size as the dot's; red: the choice, dotted: the objective.",
    "selection": "Columns that each method keeps, and how well they do.",
    "forecasts": "Held-out windows: what was seen, what came, and what the network and the best of what costs nothing said.",
    "forecast_errors": "Mean absolute error of each method, with its interval, and at each step ahead.",
    "search_curves": "The search's trials epoch by epoch, and the best so far; grey ones were given up.",
    "search_coordinates": "Each trial is a line through its choices to what it was worth; the best is red.",
    "search_importance": "How much of the differences between trials each field explains.",
}
_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1f2933;background:#fff}
h1{margin:0 0 .2rem}h2{margin:2.2rem 0 .6rem;border-bottom:1px solid #d5dae0;padding-bottom:.2rem}
.quiet{color:#5b6773}.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.4rem 0}th,td{padding:.25rem .7rem .25rem 0;text-align:left;vertical-align:top}
th{font-weight:600;border-bottom:1px solid #d5dae0}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
tr:nth-child(even) td{background:#f5f7f9}
.kept,.flagged{padding:.5rem .8rem;border-left:4px solid #2f855a;background:#eef7f1}.flagged{border-color:#c8553d;background:#fdf0ec}
figure{margin:1rem 0}figure img{max-width:100%;height:auto;background:#fff}figcaption{color:#5b6773;font-size:.9rem}
"""


def report_page(title: str, metrics: Mapping[str, float], report: Mapping[str, Any], attachments: Path | None) -> bytes:
    """The page of a version with these metrics and this report; ``attachments`` is the folder with its pictures and documents."""
    sections = [
        _metrics(metrics, report),
        *optimization_sections(report),
        *_pictures(attachments),
        _classes(report),
        _baselines(report),
        _slices(report),
        _leaderboard(report),
        profile_section(attachments),
        _training(report),
    ]
    body = "\n".join(part.html for part in sections if part is not None)
    about = " · ".join(escape(str(report[name])) for name in ("task", "target", "family_title") if report.get(name))
    links = " · ".join(f'<a href="#{part.anchor}">{escape(part.title)}</a>' for part in sections if part is not None)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="quiet">{about}</p>\n<nav class="quiet">{links}</nav>\n{body}\n</body></html>\n'
    ).encode()


def _metrics(metrics: Mapping[str, float], report: Mapping[str, Any]) -> Section | None:
    if not metrics:
        return None
    evaluation = report.get("evaluation") or {}
    intervals = evaluation.get("intervals") or {}
    rows = [
        (name.replace("_", " "), number(value), *(number(intervals.get(name, {}).get(end)) for end in ("low", "high")))
        for name, value in metrics.items()
    ]
    held_out = rows_known.get("held_out") if isinstance(rows_known := report.get("rows"), Mapping) else None
    told = f"On {held_out:,} rows that training has not seen." if isinstance(held_out, int) else "On rows that training has not seen."
    error = (evaluation.get("calibration") or {}).get("error")
    if error is not None:
        told += f" Probabilities are off by {error:.3f} in the mean (expected calibration error)."
    return section("Metrics", f"<p>{escape(told)}</p>" + table(("metric", "value", "95 % from", "to"), rows))


def _pictures(folder: Path | None) -> Iterable[Section]:
    files = sorted(folder.glob("*.svg")) if folder is not None else []
    order = list(_CAPTIONS)
    files.sort(key=lambda file: (order.index(file.stem) if file.stem in order else len(order), file.stem))
    figures = [_figure(file) for file in files]
    if figures:
        yield section("Pictures", "\n".join(figures))


def _figure(file: Path) -> str:
    title = file.stem.replace("_", " ")
    caption = escape(_CAPTIONS.get(file.stem, title))
    content = base64.b64encode(file.read_bytes()).decode()
    return f'<figure><img alt="{escape(title)}" src="data:image/svg+xml;base64,{content}"><figcaption>{caption}</figcaption></figure>'


def _classes(report: Mapping[str, Any]) -> Section | None:
    rows = (report.get("evaluation") or {}).get("classes") or []
    names = ("class", "precision", "recall", "f1", "support")
    return section("Classes", table(names, [[cell(row.get(name)) for name in names] for row in rows])) if rows else None


def _baselines(report: Mapping[str, Any]) -> Section | None:
    evaluation = report.get("evaluation") or {}
    rows = [row for row in evaluation.get("baselines") or [] if isinstance(row, Mapping)]
    if not rows:
        return None
    names = ["method", *(name for name, value in rows[0].items() if isinstance(value, float))]
    verdict = str((evaluation.get("improvement") or {}).get("verdict", ""))
    told = f"The model is {verdict}." if verdict else "What costs little or nothing, on the same held-out rows."
    shown = [[cell(row.get(name)) for name in names] for row in rows]
    return section("Beside simpler methods", f"<p>{escape(told)}</p>" + table([name.replace("_", " ") for name in names], shown))


def _slices(report: Mapping[str, Any]) -> Section | None:
    found = (report.get("evaluation") or {}).get("slices") or {}
    rows = found.get("slices") or []
    if not rows:
        return None
    told = f"{str(found.get('metric', 'score')).replace('_', ' ')} where a column has this value, the worst first."
    shown = [(row["column"], row["value"], f"{row['rows']:,}", *(number(row[name]) for name in ("score", "low", "high"))) for row in rows]
    return section("Parts of the rows", f"<p>{escape(told)}</p>" + table(("column", "value", "rows", "score", "95 % from", "to"), shown))


def _leaderboard(report: Mapping[str, Any]) -> Section | None:
    rows = report.get("leaderboard") or []
    if not rows or not isinstance(rows[0], Mapping):
        return None
    names = ("title", "status", "mean", "std", "fit_seconds", "trials", "note")
    return section(
        "Leaderboard", table([name.replace("_", " ") for name in names], [[cell(row.get(name)) for name in names] for row in rows])
    )


def _training(report: Mapping[str, Any]) -> Section | None:
    names = (
        "task",
        "target",
        "family",
        "settings",
        "metric",
        "cross_validation",
        "rows",
        "features",
        "excluded",
        "training",
        "seed",
        "source",
    )
    rows = [(name.replace("_", " "), _told(report[name])) for name in names if report.get(name) not in (None, "", {}, [])]
    return section("Training", facts(rows)) if rows else None


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_told(entry)}" for name, entry in value.items() if name != "history")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_told(entry) for entry in value)
    return number(value) if isinstance(value, float) else str(value)
