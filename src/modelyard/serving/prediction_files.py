"""Files of asynchronous predictions: what workers write and read, and the controller carries out.

    HOME/predictions/<workspace id>/spool/<id>.json      accepted, not yet answered
                                    results/<id>.json    answered
                                    forgotten/<id>       the caller wants it cancelled and deleted

Every file appears whole or not at all, and is on the disk before anybody is told of it. A spool file goes only after its result
is stored, so a process that dies anywhere loses nothing; a result is written once and never replaced.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

_ID = re.compile(r"[0-9a-f]{44}")
_SUFFIX = ".json"


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request, as it waits in the spool."""

    id: str
    workspace_id: int
    key_id: int
    deployment: str
    version: str = ""
    """A version number or alias; empty lets the deployment choose."""
    body: str
    """The JSON body of the predict call to make."""
    webhook: str = ""
    request_id: str = ""
    created_ns: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a submission ended: ``result`` is the answer of the predict call, or ``error`` its error object."""

    id: str
    workspace_id: int
    deployment: str
    status: str
    """``succeeded`` or ``failed``."""
    created_ns: int
    finished_ns: int
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


def new_id(time_ns: int) -> str:
    """An id that cannot be guessed (128 random bits) and sorts by the time of its making."""
    return f"{time_ns // 1_000_000:012x}"[-12:] + secrets.token_hex(16)


class PredictionFiles:
    """The folder of asynchronous predictions. Every method blocks on the disk: never call one on an event loop."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def submit(self, submission: Submission) -> None:
        """Stores a submission durably."""
        path = self._path(submission.workspace_id, "spool", submission.id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._write(path, msgspec.json.encode(submission))
        temporary.replace(path)
        _sync(path.parent)

    def store(self, outcome: Outcome) -> Outcome:
        """Stores an outcome durably and gives the stored one: the first that was ever written."""
        path = self._path(outcome.workspace_id, "results", outcome.id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._write(path, msgspec.json.encode(outcome))
        try:
            os.link(temporary, path)  # unlike a rename, a link never replaces
        except FileExistsError:
            return msgspec.json.decode(path.read_bytes(), type=Outcome)
        finally:
            temporary.unlink()
            _sync(path.parent)
        return outcome

    def submission(self, workspace_id: int, prediction_id: str) -> Submission | None:
        """A waiting submission. Raises what ``UNREADABLE`` names for a damaged file."""
        raw = self._read(workspace_id, "spool", prediction_id)
        return None if raw is None else msgspec.json.decode(raw, type=Submission)

    def outcome(self, workspace_id: int, prediction_id: str) -> Outcome | None:
        """A stored outcome. Raises what ``UNREADABLE`` names for a damaged file."""
        raw = self._read(workspace_id, "results", prediction_id)
        return None if raw is None else msgspec.json.decode(raw, type=Outcome)

    def find(self, workspace_id: int, prediction_id: str) -> Submission | Outcome | None:
        """What is known of a prediction that the caller has not forgotten."""
        if self.is_forgotten(workspace_id, prediction_id):
            return None
        # A submission may become an outcome between two looks, never the other way.
        return (
            self.outcome(workspace_id, prediction_id)
            or self.submission(workspace_id, prediction_id)
            or self.outcome(workspace_id, prediction_id)
        )

    def pending(self) -> list[tuple[int, str]]:
        """Workspace and id of every submission in the spool, oldest first."""
        return sorted(self._listed("spool", _SUFFIX), key=lambda entry: entry[1])

    def forgotten(self) -> list[tuple[int, str]]:
        """Workspace and id of every prediction that its caller wants deleted."""
        return list(self._listed("forgotten", ""))

    def is_forgotten(self, workspace_id: int, prediction_id: str) -> bool:
        return bool(_ID.fullmatch(prediction_id)) and self._mark(workspace_id, prediction_id).exists()

    def forget(self, workspace_id: int, prediction_id: str) -> None:
        """Marks a prediction as to be cancelled and deleted, then deletes what is there; the controller deletes what comes late."""
        mark = self._mark(workspace_id, prediction_id)
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch()
        _sync(mark.parent)
        self.remove(workspace_id, prediction_id)

    def done(self, workspace_id: int, prediction_id: str) -> None:
        """Takes a submission, whose outcome is stored, out of the spool."""
        self._path(workspace_id, "spool", prediction_id).unlink(missing_ok=True)

    def set_aside(self, workspace_id: int, prediction_id: str) -> None:
        """Keeps a damaged submission for a person to look at, out of the way."""
        path = self._path(workspace_id, "spool", prediction_id)
        path.replace(path.with_suffix(".damaged"))

    def remove(self, workspace_id: int, prediction_id: str) -> None:
        """Deletes submission and outcome."""
        for folder in ("spool", "results"):
            self._path(workspace_id, folder, prediction_id).unlink(missing_ok=True)

    def sweep(self, before_ns: int) -> None:
        """Deletes what a killed process left half-written before ``before_ns``."""
        for path in self._root.glob("[0-9]*/*/.*"):
            with contextlib.suppress(FileNotFoundError):  # another process may be sweeping, or finishing it
                if path.stat().st_mtime_ns < before_ns:
                    path.unlink()

    def unmark(self, workspace_id: int, prediction_id: str) -> None:
        """Ends a forgetting, when nothing is left to delete."""
        self._mark(workspace_id, prediction_id).unlink(missing_ok=True)

    def _path(self, workspace_id: int, folder: str, prediction_id: str) -> Path:
        if not _ID.fullmatch(prediction_id):  # callers check first: an id from outside never reaches the file system
            raise ValueError(f"{prediction_id!r} is not the id of a prediction.")
        return self._root / str(workspace_id) / folder / (prediction_id + _SUFFIX)

    def _mark(self, workspace_id: int, prediction_id: str) -> Path:
        return self._path(workspace_id, "forgotten", prediction_id).with_suffix("")

    def _read(self, workspace_id: int, folder: str, prediction_id: str) -> bytes | None:
        if not _ID.fullmatch(prediction_id):
            return None
        try:
            return self._path(workspace_id, folder, prediction_id).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, path: Path, data: bytes) -> Path:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _listed(self, folder: str, suffix: str) -> Iterator[tuple[int, str]]:
        try:
            workspaces = [entry.name for entry in self._root.iterdir() if entry.name.isdigit()]
        except FileNotFoundError:
            return
        for workspace in workspaces:
            try:
                names = [entry.name for entry in (self._root / workspace / folder).iterdir()]
            except FileNotFoundError:
                continue
            for name in names:
                if name.endswith(suffix) and _ID.fullmatch(name.removesuffix(suffix)):
                    yield int(workspace), name.removesuffix(suffix)


def _sync(folder: Path) -> None:
    """Puts a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
