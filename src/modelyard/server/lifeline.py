"""A child process that must not outlive its parent, even when that is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.5


def die_with(parent: int) -> None:
    """Lets this process be killed when the process ``parent``, which started it, ends for whatever reason.

    On Linux the kernel sees to it; elsewhere a thread looks twice a second. On Linux the signal comes when the *thread* that
    started this process ends, so a parent starts its children from a thread that lives as long as they may.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()
    if os.getppid() != parent:
        # It died before the request took effect.
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
