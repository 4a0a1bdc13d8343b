"""Starting the platform in the background: ``modelyard up --detach``."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from modelyard.server.settings import Settings
from modelyard.server.supervisor import Notice, Tell, Told
from modelyard.store.home import Home

COMMAND = (sys.executable, "-m", "modelyard.server.supervisor")


def start_detached(settings: Settings, tell: Tell) -> bool:
    """Starts a supervisor that outlives this process and returns when the platform is ready; False when it could not start.

    Everything it tells until then, the admin key of a first start included, is passed on.
    """
    home = Home(settings.home)
    home.create()
    with (home.logs / "output.log").open("ab") as output:
        process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as stdin:
        stdin.write(msgspec.json.encode(settings.encode()) + b"\n")
    with process.stdout as stdout:
        for line in stdout:
            notice = msgspec.json.decode(line, type=Notice)
            tell(notice)
            if notice.told in {Told.READY, Told.FATAL}:
                # It goes on by itself; this handle is not waited for.
                process.returncode = 0
                return notice.told is Told.READY
    process.wait()
    tell(Notice(told=Told.FATAL, text=f"The platform ended before it was ready; see {home.logs}."))
    return False
