"""What a fork of a prepared process does is what a process of its own would do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.testing.preloaded import Preloaded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are waited for by their descriptors")
PROGRAM = """
import os, pathlib, signal, sys, tempfile
if __name__ == "__main__":
    print("to standard error", file=sys.stderr)
    match sys.argv[1:]:
        case ["look"]:
            print(sys.stdin.read(), os.getcwd(), os.environ["WORD"], "GONE" in os.environ, tempfile.gettempdir(), "json" in sys.modules)
        case ["refuse"]:
            sys.exit("no")
        case ["fail"]:
            raise ValueError("a fault")
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["stay", place]:
            pathlib.Path(place).write_text(str(os.getpid()))
            signal.pause()
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    (folder / "program.py").write_text(PROGRAM)
    server = Preloaded(["json", "program"], {**os.environ, "PYTHONPATH": str(folder), "GONE": "1"})
    yield server.command("program")
    server.close()


def test_streams_folder_and_environment_are_the_callers(command, tmp_path):
    environment = {"PATH": os.environ["PATH"], "WORD": "wörd", "TMPDIR": str(tmp_path)}
    done = subprocess.run([*command, "look"], input="given", cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "to standard error\n")
    assert done.stdout.split() == ["given", str(tmp_path), "wörd", "False", str(tmp_path), "True"]


@pytest.mark.parametrize(
    ("argument", "status", "told"), [("refuse", 1, "no"), ("fail", 1, "ValueError: a fault"), ("die", -signal.SIGKILL, "")]
)
def test_it_ends_as_the_command_did(command, argument, status, told):
    done = subprocess.run([*command, argument], capture_output=True, text=True)
    assert done.returncode == status
    assert told in done.stderr


def test_the_command_ends_with_its_caller(command, tmp_path):
    place = tmp_path / "pid"
    with subprocess.Popen([*command, "stay", str(place)], stderr=subprocess.DEVNULL) as caller:
        until = time.monotonic() + 30
        while not (place.exists() and place.read_text()) and time.monotonic() < until:
            time.sleep(0.01)
        caller.kill()
    pid = int(place.read_text())
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


def test_many_at_once(command):
    running = [subprocess.Popen([*command, "refuse"], stderr=subprocess.PIPE, text=True) for _ in range(20)]
    assert {(process.communicate()[1], process.returncode) for process in running} == {("to standard error\nno\n", 1)}
