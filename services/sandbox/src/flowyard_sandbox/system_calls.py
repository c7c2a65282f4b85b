"""The system calls of Linux that code must not make, by machine.

From arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Machine:
    """`audit`: how the kernel names it in filters. `calls`: the numbers of its system calls."""

    audit: int
    calls: Mapping[str, int]


MACHINES: Final = {
    "x86_64": Machine(
        0xC000003E,
        {
            "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "socketpair": 53, "accept4": 288,
            "fork": 57, "vfork": 58, "clone": 56, "clone3": 435, "execve": 59, "execveat": 322,
            "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "process_madvise": 440, "kcmp": 312,
            "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424,
            "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "move_mount": 429, "open_tree": 428,
            "fsopen": 430, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
            "unshare": 272, "setns": 308, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
            "keyctl": 250, "add_key": 248, "request_key": 249,
            "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
            "name_to_handle_at": 303, "open_by_handle_at": 304, "mknod": 133, "mknodat": 259,
            "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "kexec_file_load": 320,
            "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "quotactl": 179, "syslog": 103,
            "settimeofday": 164, "clock_settime": 227, "adjtimex": 159, "sethostname": 170, "setdomainname": 171,
            "iopl": 172, "ioperm": 173, "modify_ldt": 154, "personality": 135,
            "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114, "setresuid": 117, "setresgid": 119,
            "setgroups": 116, "capset": 126, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        {
            "socket": 198, "connect": 203, "accept": 202, "bind": 200, "listen": 201, "socketpair": 199,
            "accept4": 242, "clone": 220, "clone3": 435, "execve": 221, "execveat": 281,
            "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "process_madvise": 440, "kcmp": 272,
            "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424,
            "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "move_mount": 429, "open_tree": 428,
            "fsopen": 430, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
            "unshare": 97, "setns": 268, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
            "keyctl": 219, "add_key": 217, "request_key": 218,
            "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
            "name_to_handle_at": 264, "open_by_handle_at": 265, "mknodat": 33,
            "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104, "kexec_file_load": 294,
            "reboot": 142, "swapon": 224, "swapoff": 225, "acct": 89, "quotactl": 60, "syslog": 116,
            "settimeofday": 170, "clock_settime": 112, "adjtimex": 171, "sethostname": 161, "setdomainname": 162,
            "personality": 92, "setuid": 146, "setgid": 144, "setreuid": 145, "setregid": 143, "setresuid": 147,
            "setresgid": 149, "setgroups": 159, "capset": 91, "shmget": 194, "msgget": 186, "semget": 190,
            "mq_open": 180,
        },
    ),
}  # fmt: skip
STARTING: Final = frozenset({"execve", "execveat"})
"""Those that start programs."""
_CHECKED: Final = frozenset({"clone", "clone3"})
"""Those that are refused or not by what they are to do."""
FORBIDDEN: Final = frozenset(name for machine in MACHINES.values() for name in machine.calls) - STARTING - _CHECKED
