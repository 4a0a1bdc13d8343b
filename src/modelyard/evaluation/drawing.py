"""The illustrator's process: draws each picture that a line of standard input asks for, until the input ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from modelyard.evaluation.illustrator import Request
from modelyard.evaluation.plots import Picture, confusion_picture, leaderboard_picture, residual_picture

KINDS: dict[str, Callable[..., Picture]] = {
    "confusion": confusion_picture,
    "leaderboard": leaderboard_picture,
    "residuals": residual_picture,
}


def draw_all(lines: Iterable[bytes]) -> None:
    """Draws what each line asks for; what it raises ends the process with a status that says so."""
    for line in lines:
        request = msgspec.json.decode(line, type=Request)
        for extension, content in KINDS[request.kind](**request.arguments).items():
            Path(f"{request.path}.{extension}").write_bytes(content)


if __name__ == "__main__":
    draw_all(sys.stdin.buffer)
