"""Uploads in pieces: each says where it belongs, so that one which broke off goes on from what has arrived."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

from modelyard.control.services import Services
from modelyard.core.api import UploadProgress
from modelyard.core.errors import Conflict, InvalidArtifact, InvalidRequest, TooLarge, Unavailable

MOST_PIECE = 64 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class PartialUpload:
    """What has arrived of one file of one workspace, known by the SHA-256 that it shall have."""

    def __init__(self, services: Services, workspace_id: int, digest: str) -> None:
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequest("An upload is named by the SHA-256 of the file, 64 digits of 0-9 and a-f.")
        self._services, self._digest = services, digest
        self._path = services.home.temporary / f"upload-{workspace_id}-{digest}.part"

    def progress(self) -> UploadProgress:
        """Where the next piece belongs. Content that is known already still has to be sent: knowing its digest is no right to it."""
        received = self._path.stat().st_size if self._path.exists() else 0
        return UploadProgress(digest=self._digest, received=received, done=False)

    def append(self, piece: bytes, offset: int, size: int) -> UploadProgress:
        """Takes a piece; the last one makes the file a stored blob.

        Raises Conflict when it does not begin where the last one ended, InvalidArtifact when the whole has another digest: then all of it
        is forgotten.
        """
        limit = self._services.max_upload_bytes
        if size > limit:
            raise TooLarge(f"The file has {size} bytes, over the limit of {limit}; raise MODELYARD_MAX_UPLOAD_BYTES at the server.")
        if offset + len(piece) > size:
            raise InvalidRequest(f"The piece ends at byte {offset + len(piece)} of a file of {size} bytes.")
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                received = os.fstat(file.fileno()).st_size
                if received != offset:
                    raise Conflict(
                        f"{received} bytes have arrived, so a piece that begins at {offset} does not fit; go on from {received}."
                    )
                file.seek(offset)
                file.write(piece)
                file.flush()
                if offset + len(piece) < size:
                    return UploadProgress(digest=self._digest, received=offset + len(piece), done=False)
                return self._finish(size)
        except OSError as error:
            raise Unavailable(f"The upload cannot be kept: {error.strerror}; try again.", retry_after=5.0) from error

    def _finish(self, size: int) -> UploadProgress:
        stored = self._services.blobs.put_file(self._path)
        self._path.unlink(missing_ok=True)
        if stored.digest != self._digest:
            raise InvalidArtifact("What arrived is not the file with this digest: it was changed while it was sent; send it again.")
        return UploadProgress(digest=self._digest, received=size, done=True)


def forget_old(folder: Path, min_age_seconds: float) -> int:
    """Removes what is left of uploads that nobody goes on with; how many went."""
    removed = 0
    for path in folder.glob("upload-*.part"):
        if time.time() - path.stat().st_mtime >= min_age_seconds:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
