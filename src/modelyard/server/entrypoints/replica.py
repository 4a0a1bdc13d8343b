"""A replica's process: ``python -m modelyard.server.entrypoints.replica FOLDER``. Confines itself, then answers calls of one model.

Nothing is imported before it is confined that may start a thread, for a thread that runs already would stay free.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.core.plugins import load_string
from modelyard.engines.confinement import Bounds, Doors, confine, own_places
from modelyard.engines.processes import PARENT
from modelyard.server.lifeline import die_with
from modelyard.serving.replicas.sockets import SOCKET, SPEC, bound

FILE_BYTES = 1 << 30
OPEN_FILES = 4096


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM; the exit status. Standard output and error are the replica's log."""
    owner = os.environ.get(PARENT, "")
    if owner.isdigit():
        die_with(int(owner))
    folder = Path(arguments[0])
    spec = json.loads((folder / SPEC).read_bytes())
    listener = bound(folder / SOCKET)
    held = _confined(folder, spec) if spec["reach"] != "machine" else ()
    status: int = load_string("modelyard.server.replica_process:run")(folder, listener, held)
    return status


def _confined(folder: Path, spec: Mapping[str, Any]) -> tuple[str, ...]:
    own = folder / "tmp"
    own.mkdir(exist_ok=True)
    network = spec["reach"] == "network"
    os.environ.update(own_places(own), JOBLIB_MULTIPROCESSING="0", **({} if network else {"HF_HUB_OFFLINE": "1"}))
    sys.dont_write_bytecode = True
    readable = [spec["artifact"], *filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))]
    doors = Doors(serves=True, network=network, gpus=spec["gpus"])
    return confine(folder, Bounds(cpu_seconds=0, file_bytes=FILE_BYTES, open_files=OPEN_FILES), readable, doors)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # a runtime's threads and destructors have no say any more
