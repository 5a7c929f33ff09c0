# SPDX-License-Identifier: Apache-2.0
"""The system calls that a cell may make, as a program for the kernel's filter. No library, two architectures.

another architecture, x32        the process is killed
tracing, mounts, namespaces,
keys, bpf, modules, clocks ...   EPERM
clone with a new namespace       EPERM
clone3, io_uring                 ENOSYS: C libraries fall back to what can be looked into
socket() of other families       EAFNOSUPPORT
everything else                  allowed: the cell has no capability and no host to reach
"""

import errno
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ALLOW = 0x7FFF_0000
KILL_PROCESS = 0x8000_0000
_ERRNO = 0x0005_0000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data, little-endian
_X32 = 0x4000_0000
_NEW_NAMESPACES = 0x7E02_0000
_TERMINAL_TRICKS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: type into somebody else's terminal
_FAMILIES = (1, 2, 10, 16)  # unix, inet, inet6, netlink

# One number on every architecture since Linux 5.1.
_SHARED = {
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "statmount": 457,
    "listmount": 458,
    "open_tree_attr": 467,
}
_WITHOUT = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "clone3": 435}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An architecture: its audit number and its numbers of the calls that the filter looks at."""

    audit: int
    clone: int
    socket: int
    ioctl: int
    x32: bool = False
    denied: Mapping[str, int] = field(default_factory=dict)


X86_64 = Machine(
    audit=0xC000_003E,
    clone=56,
    socket=41,
    ioctl=16,
    x32=True,
    denied={
        "ptrace": 101,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "chroot": 161,
        "unshare": 272,
        "setns": 308,
        "keyctl": 250,
        "add_key": 248,
        "request_key": 249,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "fanotify_init": 300,
        "kexec_load": 246,
        "kexec_file_load": 320,
        "create_module": 174,
        "init_module": 175,
        "delete_module": 176,
        "finit_module": 313,
        "settimeofday": 164,
        "clock_settime": 227,
        "adjtimex": 159,
        "clock_adjtime": 305,
        "acct": 163,
        "swapon": 167,
        "swapoff": 168,
        "quotactl": 179,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "reboot": 169,
        "syslog": 103,
        "iopl": 172,
        "ioperm": 173,
        "vhangup": 153,
        "modify_ldt": 154,
        "lookup_dcookie": 212,
        "uselib": 134,
        "ustat": 136,
        "sysfs": 139,
        "sethostname": 170,
        "setdomainname": 171,
        "nfsservctl": 180,
    },
)
AARCH64 = Machine(
    audit=0xC000_00B7,
    clone=220,
    socket=198,
    ioctl=29,
    denied={
        "ptrace": 117,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272,
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "chroot": 51,
        "unshare": 97,
        "setns": 268,
        "keyctl": 219,
        "add_key": 217,
        "request_key": 218,
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "fanotify_init": 262,
        "kexec_load": 104,
        "kexec_file_load": 294,
        "init_module": 105,
        "delete_module": 106,
        "finit_module": 273,
        "settimeofday": 170,
        "clock_settime": 112,
        "adjtimex": 171,
        "clock_adjtime": 266,
        "acct": 89,
        "swapon": 224,
        "swapoff": 225,
        "quotactl": 60,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "reboot": 142,
        "syslog": 116,
        "vhangup": 58,
        "lookup_dcookie": 18,
        "sethostname": 161,
        "setdomainname": 162,
        "nfsservctl": 42,
    },
)
MACHINES = {"x86_64": X86_64, "aarch64": AARCH64}


def this_machine() -> Machine | None:
    """The architecture we run on, if we have its numbers."""
    return MACHINES.get(platform.machine())


def program(machine: Machine) -> bytes:
    """The filter in the kernel's form. Offsets of jumps count the instructions that are left out."""
    lines = [_load(_ARCHITECTURE), _when(_EQUAL, machine.audit, 1, 0), _answer(KILL_PROCESS), _load(_NUMBER)]
    if machine.x32:
        lines += [_when(_AT_LEAST, _X32, 0, 1), _answer(KILL_PROCESS)]
    for number in sorted({*machine.denied.values(), *_SHARED.values()}):
        lines += [_when(_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    for number in _WITHOUT.values():
        lines += [_when(_EQUAL, number, 0, 1), _refuse(errno.ENOSYS)]
    lines += _looking_at(
        machine.clone, _FIRST, [_when(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _refuse(errno.EPERM), _answer(ALLOW)]
    )
    tricks = [_when(_EQUAL, one, 0, 1) + _refuse(errno.EPERM) for one in _TERMINAL_TRICKS]
    lines += _looking_at(machine.ioctl, _SECOND, [*_split(tricks), _answer(ALLOW)])
    families = [_when(_EQUAL, one, 0, 1) + _answer(ALLOW) for one in _FAMILIES]
    lines += _looking_at(machine.socket, _FIRST, [*_split(families), _refuse(errno.EAFNOSUPPORT)])
    return b"".join([*lines, _answer(ALLOW)])


def _looking_at(number: int, offset: int, body: Sequence[bytes]) -> list[bytes]:
    """For one call, load an argument and run `body`, which ends in an answer."""
    return [_when(_EQUAL, number, 0, len(body) + 1), _load(offset), *body]


def _split(pairs: Sequence[bytes]) -> list[bytes]:
    return [pair[at : at + 8] for pair in pairs for at in (0, 8)]


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", _LOAD, 0, 0, offset)


def _when(test: int, value: int, then: int, otherwise: int) -> bytes:
    return struct.pack("=HBBI", test, then, otherwise, value)


def _answer(value: int) -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, value)


def _refuse(number: int) -> bytes:
    return _answer(_ERRNO | number)
