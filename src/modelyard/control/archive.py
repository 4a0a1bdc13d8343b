"""A backup as a stream: written by a thread into a pipe, and read from it as fast as the caller takes it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from modelyard.control.services import Services
from modelyard.core.errors import Internal, ModelyardError
from modelyard.store.backup import backup

PIECE = 1 << 20


class Archive:
    """One backup on its way to one caller."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._whole = False
        self._error: Exception | None = None
        reader, writer = os.pipe()
        self._reader: BinaryIO = os.fdopen(reader, "rb", buffering=0)
        self._thread = threading.Thread(target=self._write, args=(writer,), name="backup", daemon=True)
        self._thread.start()
        self._first = self._reader.read(PIECE)
        if not self._first:
            self._finish()

    def pieces(self) -> Iterator[bytes]:
        """The archive; a failure on the way ends it with an error, so that the caller never takes a part for the whole."""
        piece = self._first
        with self._reader:
            while piece:
                yield piece
                piece = self._reader.read(PIECE)
        self._finish()

    def _write(self, descriptor: int) -> None:
        # A caller that goes away closes the pipe; then the rest is not needed.
        with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as out:
            try:
                backup(self._services.store, self._services.blobs, self._services.home, out)
                self._whole = True
            except (ModelyardError, OSError) as error:
                self._error = error

    def _finish(self) -> None:
        self._thread.join()
        if not self._whole:
            raise Internal("The backup could not be written to its end; the server's log says why.") from self._error
