"""A supervisor with pretended children: settings as JSON on standard input, notices as JSON lines on standard output."""

import sys
from pathlib import Path

import msgspec

from modelyard.core.errors import ModelyardError
from modelyard.server.settings import Settings
from modelyard.server.supervisor import Commands, Notice, Told, run

CHILD = str(Path(__file__).with_name("pretend_child.py"))


def tell(notice: Notice) -> None:
    sys.stdout.write(msgspec.json.encode(notice).decode() + "\n")
    sys.stdout.flush()


settings = Settings.decode(msgspec.json.decode(sys.stdin.readline()))
controller, worker = sys.argv[1:]
try:
    roles = [(sys.executable, CHILD, role) for role in (controller, worker, "engine")]
    sys.exit(run(settings, tell, Commands(*roles)))
except ModelyardError as error:
    tell(Notice(told=Told.FATAL, text=error.message))
    sys.exit(1)
