"""Progress of a running job: lines that its process appends, read as they come."""

from __future__ import annotations

from pathlib import Path

import msgspec

from modelyard.core.jobs import Progress
from modelyard.core.unreadable import UNREADABLE

MAX_MESSAGE = 500


class ProgressLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of ``progress.jsonl``. ``fraction`` is of the whole job; negative keeps the last one."""

    time_ns: int
    stage: str = ""
    fraction: float = -1.0
    message: str = ""


class ProgressTail:
    """Reads what was appended since the last look and works out when the job will be done."""

    def __init__(self, path: Path, started_ns: int) -> None:
        self._path = path
        self._started_ns = started_ns
        self._offset = 0
        self._rest = b""
        self.latest = Progress()

    def read(self) -> bool:
        """Takes in new lines; whether there were any. Lines that are no progress are skipped: the process is not trusted."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return False
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        before = self.latest
        for line in lines:
            try:
                self._take(msgspec.json.decode(line, type=ProgressLine))
            except UNREADABLE:
                continue
        return self.latest != before

    def _take(self, line: ProgressLine) -> None:
        fraction = min(line.fraction, 1.0) if line.fraction >= 0 else self.latest.fraction
        self.latest = Progress(
            stage=line.stage[:MAX_MESSAGE] or self.latest.stage,
            fraction=fraction,
            message=line.message[:MAX_MESSAGE],
            eta_seconds=remaining_seconds(fraction, (line.time_ns - self._started_ns) / 1e9),
        )


def remaining_seconds(fraction: float, elapsed: float) -> float:
    """How long the rest takes when it goes on as it went; negative while that cannot be said."""
    if fraction < 0.03 or elapsed < 1:
        return -1.0
    return round(elapsed * (1.0 - fraction) / fraction, 1)
