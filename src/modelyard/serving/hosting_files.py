"""Models that a container contract loads and unloads: what workers ask for, and what the controller says came of it.

    HOME/run/hosting/<id>.wish     asked by a worker
                     <id>.told     what came of it; the worker takes it away

Every file appears whole or not at all. All of it means something only while the platform runs.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from pathlib import Path

import msgspec

from modelyard.core.hosting import Came, Told, Wish

LOOK_S = 0.02
_STALE_S = 3600.0


class HostingFiles:
    """The folder of wishes. Every method blocks on the disk: never call one on an event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ask(self, wish: Wish, seconds: float) -> Told:
        """Asks and waits for the answer, ``seconds`` at most."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = f"{time.time_ns():020d}-{secrets.token_hex(8)}"
        self._write(f"{identity}.wish", wish)
        told, until = self._folder / f"{identity}.told", time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError):
                answer = msgspec.json.decode(told.read_bytes(), type=Told)
                told.unlink()
                return answer
            time.sleep(LOOK_S)
        return Told(came=Came.LATER, message=f"The model is not {wish.verb}ed after {seconds:g} s; ask again.")

    def pending(self) -> list[str]:
        """Wishes that are not answered yet, oldest first."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        # One that is being written has a name with a dot in front.
        return sorted(name.removesuffix(".wish") for name in names if name.endswith(".wish") and not name.startswith("."))

    def wish(self, identity: str) -> Wish:
        return msgspec.json.decode((self._folder / f"{identity}.wish").read_bytes(), type=Wish)

    def tell(self, identity: str, told: Told) -> None:
        """Answers a wish, and tidies answers that nobody has taken away."""
        self._write(f"{identity}.told", told)
        (self._folder / f"{identity}.wish").unlink(missing_ok=True)
        for path in self._folder.glob("*.told"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()

    def _write(self, name: str, what: Wish | Told) -> None:
        temporary = self._folder / f".{name}"
        temporary.write_bytes(msgspec.json.encode(what))
        temporary.replace(self._folder / name)
