"""Logs as JSON lines, with secrets taken out. Tracebacks go here and nowhere else."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec

_SECRETS = re.compile(
    r"(?P<key>\bmy_[A-Za-z0-9]{4,}_)[A-Za-z0-9_-]{8,}"  # our own keys: the public part stays
    r"|(?P<bearer>\b[Bb]earer\s+)[^\s\"',;]+"
    r"|(?P<url>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+(?=@)"  # passwords in URLs
    r"|(?P<named>(?i:x-api-key|api-key|api_key|admin_key|password|secret|token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&]+"
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ENCODER = msgspec.json.Encoder(enc_hook=str)
MAX_BYTES = 16 * 2**20
KEPT_FILES = 3
MOST_WAITING = 10_000
"""Lines that may wait for a disk."""


def redact(text: str) -> str:
    """``text`` without API keys, bearer tokens, passwords in URLs and values of fields that are named like secrets."""
    return _SECRETS.sub(lambda match: f"{next(part for part in match.groups() if part is not None)}[redacted]", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the process, and whatever ``extra`` held."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line without line breaks."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                document[name] = redact(value) if isinstance(value, str) else value
        if record.exc_info:
            document["traceback"] = redact(self.formatException(record.exc_info))
        return _ENCODER.encode(document).decode()


class TextFormatter(logging.Formatter):
    """Short lines for a person at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, secrets taken out."""
        return redact(super().format(record))


class Behind(logging.handlers.QueueHandler):
    """Hands lines to a thread that writes them to ``target``, so that who logs never waits for a disk.

    While ``most`` wait, further ones are dropped, and counted in the next one that is written. ``close`` writes what waits.
    """

    def __init__(self, target: logging.Handler, most: int = MOST_WAITING) -> None:
        self._lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        super().__init__(self._lines)
        self.setFormatter(target.formatter)
        target.setFormatter(None)  # what comes to it is a whole line
        self._target, self._most, self._lost = target, most, 0
        self._writer: logging.handlers.QueueListener | None = logging.handlers.QueueListener(self._lines, target)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a line."""
        if self._lines.qsize() >= self._most:
            self._lost += 1
            return
        if self._lost:
            record.dropped, self._lost = self._lost, 0
        super().emit(record)

    def close(self) -> None:
        """Writes what waits, and ends."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.stop()
            self._target.close()
        super().close()


def configure(process: str, level: str, folder: Path | None, stream: TextIO | None = None, *, behind: bool = False) -> None:
    """Sends this process's log to ``folder/<process>.log`` (rotated), and warnings and worse also to ``stream``.

    Called once by an entry point. Without a folder everything goes to the stream (standard error by default). With ``behind`` the file
    is written by a thread of its own; such a process calls ``logging.shutdown`` before it ends in any unusual way.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level.upper())
    formatter = JsonFormatter(process)
    if folder is not None:
        file = logging.handlers.RotatingFileHandler(folder / f"{process}.log", maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
        file.setFormatter(formatter)
        root.addHandler(Behind(file) if behind else file)
    if folder is None or stream is not None:
        console = logging.StreamHandler(stream or sys.stderr)
        console.setFormatter(formatter)
        if folder is not None:
            console.setLevel(logging.WARNING)
        root.addHandler(console)
    logging.captureWarnings(capture=True)
