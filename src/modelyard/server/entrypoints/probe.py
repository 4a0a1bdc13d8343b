"""The confined child that tries a pushed model: a JSON request on standard input, a JSON answer on standard output.

Started by ``registry.validate.Prober``. It gives up what it does not need before it imports a runtime, and sets its limits
before it touches the model.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from modelyard.core.errors import InvalidArtifact, ModelyardError
from modelyard.engines.confinement import Bounds, confine, own_places, why_not
from modelyard.registry.trial import prepare, run
from modelyard.registry.validate import ProbeAnswer, ProbeRequest
from modelyard.runtimes.detect import REACH_OUT

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_OPEN_FILES = 256
_FILE_BYTES = 64 << 20


def main() -> None:
    """Answers one request."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not look like the answer
    give_up_privileges()
    answer = serve(sys.stdin.buffer.read())
    with os.fdopen(answer_to, "wb") as stream:
        stream.write(msgspec.json.encode(answer))
    os._exit(0)  # a library's threads and destructors have no say any more


def serve(raw: bytes) -> ProbeAnswer:
    """The answer to a request, whatever the model does to this process short of ending it."""
    try:
        request = msgspec.json.decode(raw, type=ProbeRequest)
        os.environ.update(own_places(Path(request.own)))
        confined = request.format not in REACH_OUT and not why_not()
        if confined:
            confine(Path(request.own), Bounds(cpu_seconds=0, file_bytes=_FILE_BYTES, open_files=_OPEN_FILES), [request.folder])
        prepare(request)
        limit(request.memory_bytes, request.seconds, _FILE_BYTES if confined else 0)
        return ProbeAnswer(result=run(request))
    except ModelyardError as error:
        return ProbeAnswer(code=error.code, message=error.message)
    except MemoryError:
        return ProbeAnswer(code=InvalidArtifact.code, message="The model wants more memory than a trial may use; make it smaller.")
    except Exception as error:  # noqa: BLE001 -- the edge of the process: the model decides what a library raises here
        detail = " ".join(str(error).split())[:300]
        return ProbeAnswer(code=InvalidArtifact.code, message=f"The model cannot be tried: {type(error).__name__}: {detail}")


def give_up_privileges() -> None:
    """No way back to more rights, no network where the kernel lets go of it, and death together with the parent."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def limit(memory_bytes: int, seconds: float, file_bytes: int) -> None:
    """Bounds memory (beyond what is mapped now), CPU time and files; with 0 bytes nothing can be written to disk."""
    for what, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CPU, _cpu_seconds() + max(1, round(seconds))),  # the kernel kills at the hard limit, a second later
        (resource.RLIMIT_AS, _mapped_bytes() + memory_bytes),
    ):
        with suppress(ValueError, OSError):  # a hard limit that is lower already stays
            resource.setrlimit(what, (value, value + (what == resource.RLIMIT_CPU)))


def _cpu_seconds() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return round(used.ru_utime + used.ru_stime) + 1


def _mapped_bytes() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 1 << 32


if __name__ == "__main__":
    main()
