"""The illustrator's process: draws each picture that a line of standard input asks for, until the input ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import msgspec

from modelyard.evaluation.canvas import Picture
from modelyard.evaluation.curves import calibration_picture, learning_picture, scores_by_rows_picture
from modelyard.evaluation.forecast_plots import forecast_errors_picture, forecasts_picture
from modelyard.evaluation.gallery import gallery_picture
from modelyard.evaluation.illustrator import Request
from modelyard.evaluation.optimizing import family_picture, tuning_picture
from modelyard.evaluation.plots import confusion_picture, leaderboard_picture, residual_picture, selection_picture
from modelyard.evaluation.profile_plots import profile_picture
from modelyard.evaluation.searches import search_coordinates_picture, search_curves_picture, search_importance_picture

KINDS: dict[str, Callable[..., Picture]] = {
    "calibration": calibration_picture,
    "confusion": confusion_picture,
    "family": family_picture,
    "forecast_errors": forecast_errors_picture,
    "forecasts": forecasts_picture,
    "gallery": gallery_picture,
    "learning": learning_picture,
    "leaderboard": leaderboard_picture,
    "profile": profile_picture,
    "residuals": residual_picture,
    "scores_by_rows": scores_by_rows_picture,
    "search_coordinates": search_coordinates_picture,
    "search_curves": search_curves_picture,
    "search_importance": search_importance_picture,
    "selection": selection_picture,
    "tuning": tuning_picture,
}


def draw_all(lines: Iterable[bytes]) -> int:
    """Draws what each line asks for, each in a copy of this process, and returns how many could not be drawn.

    A copy has Matplotlib loaded already, and pictures that follow each other are drawn on as many cores as there are.
    """
    failed, drawing = 0, 0
    for line in lines:
        if drawing == (os.cpu_count() or 1):
            failed, drawing = failed + _ended(), drawing - 1
        if os.fork() == 0:
            _draw_and_exit(line)
        drawing += 1
    return failed + sum(_ended() for _ in range(drawing))


def _draw_and_exit(line: bytes) -> NoReturn:
    status = 1
    try:
        request = msgspec.json.decode(line, type=Request)
        for extension, content in KINDS[request.kind](**request.arguments).items():
            Path(f"{request.path}.{extension}").write_bytes(content)
        status = 0
    finally:
        if status:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)  # What the process was copied from is not this copy's to clean up.


def _ended() -> bool:
    """Waits for one copy; whether it failed."""
    return os.wait()[1] != 0


if __name__ == "__main__":
    sys.exit(draw_all(sys.stdin.buffer) > 0)
