"""Kinds of jobs as the job's process imports them."""

import os
import signal
import subprocess
import sys
import time

from modelyard.core.errors import InvalidData

GRANDCHILD = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('pid', os.getpid(), flush=True); time.sleep(600)"
)


def succeed(context):
    context.report("reading", 0.5, "half")
    print("hello from the job")
    (context.output / "made.txt").write_text(context.inputs["data.txt"].read_text().upper())
    return {"rows": 3}


def refuse(context):
    raise InvalidData("Column 'y' is missing.")


def family(context):
    subprocess.Popen([sys.executable, "-c", GRANDCHILD])
    time.sleep(600)


def forever(context):
    print("ready", flush=True)
    time.sleep(600)


def crash_once(context):
    mark = context.folder / "crashed"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return {"attempts": 2}


def greedy(context):
    kept = []
    while True:
        kept.append(bytearray(8_000_000))
        time.sleep(0.01)
