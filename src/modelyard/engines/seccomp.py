"""A seccomp filter for processes that must only compute: no network, no other programs, no reach to other processes.

Works without privileges and inside containers. What is refused answers with EPERM, so that a library that merely tries goes on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_CLONE_THREAD = 0x10000
_X32 = 0x40000000

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
OWN_PROCESS_ONLY = {
    "x86_64": {"kill": 62, "tgkill": 234, "prlimit64": 302, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297},
    "aarch64": {"kill": 129, "tgkill": 131, "prlimit64": 261, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240},
}
"""Calls whose first argument is a process: allowed with 0 or the own id."""
_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "move_mount": 429,
    "fsopen": 430,
    "fsmount": 432,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "fchmodat2": 452,
    "setxattrat": 463,
    "removexattrat": 466,
}
# fmt: off
REFUSED = {
    "x86_64": {
        "socket": 41, "connect": 42, "bind": 49, "listen": 50, "accept": 43, "accept4": 288, "execve": 59, "execveat": 322,
        "fork": 57, "vfork": 58, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "tkill": 200, "kcmp": 312,
        "setpriority": 141, "sched_setscheduler": 144, "sched_setattr": 314, "ioprio_set": 251, "mount": 165, "umount2": 166,
        "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "keyctl": 250, "add_key": 248, "request_key": 249, "open_by_handle_at": 304, "name_to_handle_at": 303, "mknod": 133,
        "mknodat": 259, "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246,
        "kexec_file_load": 320, "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "quotactl": 179,
        "settimeofday": 164, "clock_settime": 227, "sethostname": 170, "setdomainname": 171, "shmget": 29, "msgget": 68,
        "semget": 64, "mq_open": 240, "chmod": 90, "fchmod": 91, "fchmodat": 268, "chown": 92, "fchown": 93, "lchown": 94,
        "fchownat": 260, "truncate": 76, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197,
        "lremovexattr": 198, "fremovexattr": 199, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
    },
    "aarch64": {
        "socket": 198, "connect": 203, "bind": 200, "listen": 201, "accept": 202, "accept4": 242, "execve": 221,
        "execveat": 281, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "tkill": 130, "kcmp": 272,
        "setpriority": 140, "sched_setscheduler": 119, "sched_setattr": 274, "ioprio_set": 30, "mount": 40, "umount2": 39,
        "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "keyctl": 219, "add_key": 217, "request_key": 218, "open_by_handle_at": 265, "name_to_handle_at": 264, "mknodat": 33,
        "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104, "kexec_file_load": 294,
        "reboot": 142, "swapon": 224, "swapoff": 225, "acct": 89, "quotactl": 60, "settimeofday": 170, "clock_settime": 112,
        "sethostname": 161, "setdomainname": 162, "shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180, "fchmod": 52,
        "fchmodat": 53, "fchown": 55, "fchownat": 54, "truncate": 45, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7,
        "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "utimensat": 88,
    },
}
# fmt: on
"""Calls that are refused whatever their arguments, by architecture. Changing modes, owners and times is among them because the
file-system rules of Landlock do not cover them; starting threads stays allowed, starting processes does not."""

SERVING = frozenset({"listen", "accept", "accept4"})
"""What a process needs that answers on sockets which it has bound before."""
CALLING = frozenset({"socket", "connect", "bind"})
"""What calls to other hosts need. Only sockets of the Internet can be made then, and of netlink, which resolvers ask for addresses."""
_FAMILIES = (2, 10, 16)


def supported() -> bool:
    """Whether this machine's architecture is known here."""
    return platform.machine() in AUDIT


def refuse_all_but_computing(besides: frozenset[str] = frozenset()) -> None:
    """Sets the filter for this process, for good, which lets calls ``besides`` through; raises OSError where the kernel has none."""
    program = compiled(platform.machine(), os.getpid(), besides)
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(header), 0, 0):
        raise OSError(ctypes.get_errno(), f"The kernel sets no seccomp filter: {os.strerror(ctypes.get_errno())}")


def compiled(machine: str, own: int, besides: frozenset[str] = frozenset()) -> bytes:
    """The filter as a program of classic BPF."""
    refuse = _ERRNO | errno.EPERM
    steps = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, AUDIT[machine], 1, 0), _step(_RETURN, _KILL), _step(_LOAD, _NUMBER)]
    if machine == "x86_64":
        steps += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, refuse)]
    named = {name: number for name, number in REFUSED[machine].items() if name not in besides}
    for number in sorted({*named.values(), *_EVERYWHERE.values()}):
        steps += [_step(_EQUAL, number, 0, 1), _step(_RETURN, refuse)]
    # glibc tries clone3, whose flags a filter cannot see, and falls back to clone when the kernel has none.
    steps += [_step(_EQUAL, CLONE3, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    steps += [
        _step(_EQUAL, CLONE[machine], 0, 4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_ANY_BIT, _CLONE_THREAD, 1, 0),
        _step(_RETURN, refuse),
        _step(_RETURN, _ALLOW),
    ]
    if "socket" in besides:
        steps += [_step(_EQUAL, REFUSED[machine]["socket"], 0, 6), _step(_LOAD, _FIRST_ARGUMENT)]
        steps += [_step(_EQUAL, family, 3 - at, 0) for at, family in enumerate(_FAMILIES)]
        steps += [_step(_RETURN, refuse), _step(_RETURN, _ALLOW)]
    for number in OWN_PROCESS_ONLY[machine].values():
        steps += [
            _step(_EQUAL, number, 0, 5),
            _step(_LOAD, _FIRST_ARGUMENT),
            _step(_EQUAL, own, 2, 0),
            _step(_EQUAL, 0, 1, 0),
            _step(_RETURN, refuse),
            _step(_RETURN, _ALLOW),
        ]
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
