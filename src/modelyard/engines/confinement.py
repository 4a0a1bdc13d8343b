"""Confinement of the process itself, before it touches what it must not trust.

It may read code and its own folder, write its own folder only, and nothing else: no network, no other program or process, no
privilege, no settings or secrets of the platform. Linux does this with Landlock and seccomp, neither of which needs privileges, so
it works in containers; where one is missing ``why_not`` says so, and the caller decides. Threads that run already are not confined:
call it first thing.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.engines.seccomp import CALLING, SERVING, refuse_all_but_computing, supported

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_ONLY, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL = (1 << 16) - 1
_IOCTL = 1 << 15
_ALL_TCP, _ALL_SCOPES = 3, 3
_READ = _READ_FILE | _READ_DIR
_OWN = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_ON_FILES = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL
_CLONE_NEWNET, _CLONE_NEWIPC = 0x40000000, 0x08000000
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _CLEAR_ALL, _PR_SET_NO_NEW_PRIVS = 24, 47, 4, 38
_CAPABILITIES_3 = 0x20080522
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/opt", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/etc/mime.types")
_KERNEL = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems", "/proc/sys/vm", "/sys/devices/system")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_GPU_DEVICES = ("nvidia*", "nvidia-caps/*", "dri/*", "kfd")
_GPU_FACTS = ("/proc/driver", "/sys")
_NAMES = ("resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "services", "ssl", "pki", "ca-certificates")
"""In /etc: how hosts are found, and whom to believe."""
_OWN_PLACES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR", "JOBLIB_TEMP_FOLDER")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a confined process may use besides the memory limit that it inherits."""

    cpu_seconds: int
    """0 for a process that has no end of its own."""
    file_bytes: int
    open_files: int = 1024


@dataclass(frozen=True, slots=True)
class Doors:
    """What a confined process may do besides computing."""

    serves: bool = False
    """Answers on sockets that it has bound before."""
    network: bool = False
    """Opens connections to other hosts; sockets of this machine's other programs stay shut."""
    gpus: bool = False
    """Opens the devices of GPUs."""


def why_not() -> str:
    """Why this machine cannot confine a process; empty when it can."""
    if sys.platform != "linux":
        return "only Linux has what it takes"
    if landlock_version() < 1:
        return "the kernel has no Landlock, or it is turned off (Linux 5.13 or newer, 'landlock' in /sys/kernel/security/lsm)"
    if not supported():
        return f"processors of type {os.uname().machine} are not known to the filter of system calls"
    return ""


def landlock_version() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION_ONLY))))


def confine(folder: Path, bounds: Bounds, code: Iterable[str | Path] = (), doors: Doors = Doors()) -> tuple[str, ...]:
    """Confines this process for good; what holds now, in words.

    ``folder`` is all that it may write, ``code`` what it may read besides the system's and Python's own files. Raises OSError when
    the kernel refuses a step that ``why_not`` found possible: the process must not go on then.
    """
    limit(bounds)
    if why_not():
        return ("limits of time, files and memory",)
    held = ["Landlock", "seccomp", "no capabilities", "limits of time, files and memory"]
    # Of use against what a filter does not know; needs privileges.
    if not doors.network and _libc().unshare(_CLONE_NEWNET | _CLONE_NEWIPC) == 0:
        held.append("own network and IPC namespaces")
    _drop_capabilities()
    _check(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "forgo new privileges")
    source = Path(__file__).resolve().parents[2]  # where a link in Python's path may lead
    _lock_files(folder, [*_SYSTEM, *_KERNEL, sys.prefix, sys.base_prefix, source, *(path for path in sys.path if path), *code], doors)
    refuse_all_but_computing((SERVING if doors.serves else frozenset()) | (CALLING if doors.network else frozenset()))
    return tuple(held)


def own_places(folder: Path) -> dict[str, str]:
    """Environment variables by which programs put what they write below ``folder``."""
    return dict.fromkeys(_OWN_PLACES, str(folder))


def limit(bounds: Bounds) -> None:
    """Bounds CPU time, files' sizes and their number; a hard limit that is lower already stays."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + bounds.cpu_seconds
    for what, value, slack in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, bounds.file_bytes, 0),
        (resource.RLIMIT_NOFILE, bounds.open_files, 0),
        *([(resource.RLIMIT_CPU, seconds, 1)] if bounds.cpu_seconds else []),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (value, value + slack))


def _lock_files(folder: Path, readable: Iterable[str | Path], doors: Doors) -> None:
    version = landlock_version()
    handled = _ALL_BY_VERSION.get(version, _ALL)
    network = 0 if doors.network else _ALL_TCP
    attributes = struct.pack("QQQ", handled, network, _ALL_SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = int(_libc().syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)))
    _check(rules >= 0, "create a Landlock rule set")
    try:
        for path in [*readable, *_opened(doors)]:
            _allow(rules, path, _READ & handled)
        for path in _DEVICES:
            _allow(rules, path, (_READ_FILE | _WRITE_FILE) & handled)
        for path in [found for pattern in _GPU_DEVICES for found in Path("/dev").glob(pattern)] if doors.gpus else ():
            _allow(rules, path, (_READ_FILE | _WRITE_FILE | _IOCTL) & handled)
        _allow(rules, folder, _OWN & handled)
        _check(_libc().syscall(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint(0)) == 0, "apply Landlock")
    finally:
        os.close(rules)


def _opened(doors: Doors) -> list[str]:
    """What is read on the way through a door."""
    names = [f"/etc/{name}" for name in _NAMES] if doors.network else []
    return [*names, *(_GPU_FACTS if doors.gpus else ())]


def _allow(rules: int, path: str | Path, access: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no rule
    try:
        if not Path(path).is_dir():
            access &= _ON_FILES
        rule = struct.pack("=Qi", access, opened)
        done = _libc().syscall(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0))
        _check(done == 0, f"add a Landlock rule for {path}")
    finally:
        os.close(opened)


def _drop_capabilities() -> None:
    libc = _libc()
    libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    number = 0
    while libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header, none = struct.pack("=Ii", _CAPABILITIES_3, 0), struct.pack("=6I", *([0] * 6))
    _check(libc.capset(header, none) == 0, "drop capabilities")


def _check(done: bool, doing: str) -> None:
    if not done:
        number = ctypes.get_errno()
        raise OSError(number, f"Cannot {doing}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
