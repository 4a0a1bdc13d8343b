"""What a confined process can still do: it tries, in a process of its own."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import textwrap

import pytest

from modelyard.engines import confinement, seccomp

confinable = pytest.mark.skipif(bool(confinement.why_not()), reason=f"this machine cannot confine: {confinement.why_not()}")

ATTEMPTS = """
import json, os, socket, subprocess, sys, threading
from pathlib import Path
from modelyard.engines.confinement import Bounds, confine
folder, outside = Path(sys.argv[1]), Path(sys.argv[2])
held = confine(folder, Bounds(cpu_seconds=20, file_bytes=1 << 20))
def thread():
    worker = threading.Thread(target=lambda: None)
    worker.start(); worker.join()
attempts = {
    "write its own folder": lambda: (folder / "new").write_text("x") and (folder / "new").rename(folder / "newer"),
    "make a folder there": lambda: (folder / "inner").mkdir(),
    "read code": lambda: os.listdir(Path(json.__file__).parent),
    "start a thread": thread,
    "signal itself": lambda: os.kill(os.getpid(), 0),
    "read outside": lambda: outside.read_text(),
    "list outside": lambda: os.listdir(outside.parent),
    "write outside": lambda: (outside.parent / "new").write_text("x"),
    "delete outside": outside.unlink,
    "truncate outside": lambda: os.truncate(outside, 0),
    "change modes outside": lambda: outside.chmod(0o777),
    "change times outside": lambda: os.utime(outside),
    "link": lambda: os.link(outside, folder / "link"),
    "link by name": lambda: os.symlink(outside, folder / "name"),
    "make a pipe": lambda: os.mkfifo(folder / "pipe"),
    "write a large file": lambda: (folder / "large").write_bytes(bytes(2 << 20)),
    "open a socket": lambda: socket.socket(),
    "open a local socket": lambda: socket.socket(socket.AF_UNIX),
    "run a program": lambda: subprocess.run(["true"], check=True),
    "fork": os.fork,
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "read its parent's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read the list of users": lambda: Path("/etc/passwd").read_text(),
    "become somebody": lambda: os.setuid(12345) if os.getuid() == 0 else os.setuid(0),
}
found = {}
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for name, attempt in attempts.items():
    try:
        attempt()
        found[name] = "done"
    except OSError as error:
        found[name] = type(error).__name__
print(json.dumps({"held": held, "found": found}))
os._exit(0)
"""
ALLOWED = {"write its own folder", "make a folder there", "read code", "start a thread", "signal itself"}


@confinable
def test_it_computes_in_its_folder_and_does_nothing_else(tmp_path):
    folder, outside = tmp_path / "own", tmp_path / "secrets" / "key"
    folder.mkdir()
    outside.parent.mkdir()
    outside.write_text("secret")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ATTEMPTS), str(folder), str(outside)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {"Landlock", "seccomp", "no capabilities"} <= set(said["held"])
    assert {name for name, what in said["found"].items() if what == "done"} == ALLOWED
    assert outside.read_text() == "secret"


@confinable
def test_os_system_runs_nothing(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from modelyard.engines.confinement import Bounds, confine\n"
        "confine(Path(sys.argv[1]), Bounds(cpu_seconds=20, file_bytes=1 << 20)); print(os.system('echo RAN'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert "RAN" not in done.stdout
    assert done.stdout.strip() not in {"", "0"}


@pytest.mark.parametrize("machine", sorted(seccomp.AUDIT))
def test_the_filter_refuses_by_number_and_argument(machine):
    run = _Machine(seccomp.compiled(machine, own=77), seccomp.AUDIT[machine])
    refused = 0x00050001
    for name, number in seccomp.REFUSED[machine].items():
        assert run(number) == refused, name
    assert run(seccomp.CLONE[machine], 0x10000 | 0x100) == 0x7FFF0000
    assert run(seccomp.CLONE[machine], 0x11) == refused
    assert run(seccomp.CLONE3) == 0x00050026
    for name, number in seccomp.OWN_PROCESS_ONLY[machine].items():
        assert [run(number, who) for who in (77, 0, 1)] == [0x7FFF0000, 0x7FFF0000, refused], name
    assert run(63) == 0x7FFF0000
    assert _Machine(seccomp.compiled(machine, own=77), 0x40000003)(1) == 0x80000000
    if machine == "x86_64":
        assert run(0x40000000 | 1) == refused


@pytest.mark.parametrize("machine", sorted(seccomp.AUDIT))
def test_a_door_opens_what_it_is_for_and_nothing_else(machine):
    allowed, refused, numbers = 0x7FFF0000, 0x00050001, seccomp.REFUSED[machine]
    serving = _Machine(seccomp.compiled(machine, 77, seccomp.SERVING), seccomp.AUDIT[machine])
    assert {name for name, number in numbers.items() if serving(number) == allowed} == set(seccomp.SERVING)
    calling = _Machine(seccomp.compiled(machine, 77, seccomp.CALLING), seccomp.AUDIT[machine])
    assert {name for name, number in numbers.items() if calling(number, 2) == allowed} == set(seccomp.CALLING)
    families = {"unix": 1, "internet": 2, "internet 6": 10, "netlink": 16, "packets": 17, "virtual machines": 40}
    opened = {name for name, family in families.items() if calling(numbers["socket"], family) == allowed}
    assert opened == {"internet", "internet 6", "netlink"}
    assert [calling(seccomp.OWN_PROCESS_ONLY[machine]["kill"], who) for who in (77, 1)] == [allowed, refused]


class _Machine:
    """As much of classic BPF as the filter uses."""

    def __init__(self, program, architecture):
        self.steps = [struct.unpack("HBBI", program[at : at + 8]) for at in range(0, len(program), 8)]
        self.architecture = architecture

    def __call__(self, number, argument=0):
        loads = {0: number, 4: self.architecture, 16: argument}
        at = held = 0
        while True:
            code, if_true, if_false, value = self.steps[at]
            at += 1
            if code == 0x20:
                held = loads[value]
            elif code == 0x06:
                return value
            else:
                true = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
                at += if_true if true else if_false
