"""Takes rights away from this process, for ever: files, network, signals, new processes. Linux only.

Two mechanisms of the kernel that need no privilege. Landlock (https://docs.kernel.org/userspace-api/landlock.html)
refuses files, TCP, and signals to other processes. A seccomp filter refuses system calls. Both are inherited by
children, and can only be made stricter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard_sandbox.system_calls import FORBIDDEN, MACHINES, STARTING, Machine

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_RIGHTS_ON_FILES: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights that a kernel knows, by the first version of Landlock that has them."""
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_RIGHTS_ON_TCP: Final = 0b11
_SCOPES: Final = 0b11
"""Abstract Unix sockets, and signals."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SIGKILL: Final = 9
_FILTER: Final = 2


@dataclass(frozen=True)
class Confinement:
    """What the kernel has given. `landlock`: its version, 0: none. `seccomp`: whether system calls are filtered."""

    landlock: int
    seccomp: bool


def end_with_parent() -> None:
    """This process is killed when the one that has started it ends."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def limit_resources(*, memory: int, cpu_s: int) -> None:
    """`memory`: bytes of data. `cpu_s`: seconds of CPU time, then it is killed. Children get the same limits."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_CPU: cpu_s,
    }
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))


def confine(*, programs: Sequence[Path] = (), libraries: Sequence[Path] = ()) -> Confinement:
    """`programs`: files that it may still execute; without any it may start no process. `libraries`: that it may read.

    Call it when everything else has been opened and imported: nothing can be opened afterwards.
    """
    if sys.platform != "linux":
        return Confinement(0, seccomp=False)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with suppress(OSError):
        _prctl(_PR_SET_DUMPABLE, 0)
    landlock = _restrict_files(programs, libraries)
    return Confinement(landlock, seccomp=_filter_calls(FORBIDDEN if programs else FORBIDDEN | STARTING))


def _restrict_files(programs: Sequence[Path], libraries: Sequence[Path]) -> int:
    version = int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)))
    if version < 1:
        return 0
    attributes = _attributes(version)
    ruleset = _called(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in programs:
            _allow(ruleset, path, _EXECUTE | _READ_FILE)
        for path in libraries:
            _allow(ruleset, path, _READ_FILE | _EXECUTE | (_READ_DIR if path.is_dir() else 0))
        _called(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def _attributes(version: int) -> bytes:
    """Everything that this version of Landlock can refuse: files, TCP, scopes. An older one takes less."""
    rights = next(rights for since, rights in sorted(_RIGHTS_ON_FILES.items(), reverse=True) if version >= since)
    if version < _TCP_SINCE:
        return struct.pack("Q", rights)
    if version < _SCOPES_SINCE:
        return struct.pack("QQ", rights, _RIGHTS_ON_TCP)
    return struct.pack("QQQ", rights, _RIGHTS_ON_TCP, _SCOPES)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rule = struct.pack("=Qi", rights, opened)
        _called(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(opened)


# Instructions of a filter (classic BPF), and what it returns.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_X32: Final = 0x40000000
"""The numbers of another set of system calls of x86-64 begin here."""
_CLONE_THREAD: Final = 0x00010000


def _filter_calls(forbidden: Collection[str]) -> bool:
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = _program(machine, sorted({number for name, number in machine.calls.items() if name in forbidden}))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    try:
        _prctl(_PR_SET_SECCOMP, _FILTER, ctypes.addressof(described))
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOSYS}:
            return False
        raise
    return True


def _program(machine: Machine, forbidden: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Instructions (code, jump if true, jump if false, value). A jump counts the instructions that it skips."""
    start = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_IF_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    # Threads are allowed, and processes are not. What clone3 is to do can't be seen here: the C library falls back.
    processes = [
        (_IF_EQUAL, 0, 1, machine.calls["clone3"]),
        (_RETURN, 0, 0, _REFUSE | errno.ENOSYS),
        (_IF_EQUAL, 0, 4, machine.calls["clone"]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_IF_ANY_BIT, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
    ]
    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    refused = [part for number in forbidden for part in ((_IF_EQUAL, 0, 1, number), refuse)]
    return [*start, *processes, *refused, (_RETURN, 0, 0, _ALLOW)]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _called(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, value: int, more: int = 0) -> None:
    if _libc().prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(more), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
