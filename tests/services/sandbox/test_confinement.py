"""What a process may still do after it has given up its rights, if code has escaped from its interpreter.

Whatever is tried here must do no harm where it isn't refused: it is aimed at a folder of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has Landlock and seccomp")

_REFUSED: Final = 77
_HEAD: Final = """
import ctypes, os, signal, socket, subprocess, tempfile, threading
from flowyard_sandbox.confine import confine, limit_resources
folder = tempfile.mkdtemp()
file = folder + "/file"
held = os.open(file, os.O_RDWR | os.O_CREAT)
os.write(held, b"text")
os.lseek(held, 0, 0)
confine()
"""
_CALL: Final = """
import ctypes, os, platform
X86 = platform.machine() == "x86_64"
PARENT = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
def call(*numbers):
    if libc.syscall(*map(ctypes.c_long, numbers)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""

REFUSED: Final = {
    "read a file": "open(file)",
    "read what it has open by its path": "open(f'/proc/self/fd/{held}')",
    "list a folder": "os.listdir('/')",
    "read about processes": "open('/proc/1/status')",
    "read its own memory": "open('/proc/self/mem', 'rb')",
    "write a file": "open(file, 'w')",
    "make a folder": "os.mkdir(folder + '/other')",
    "remove a file": "os.unlink(file)",
    "make a link": "os.symlink(file, folder + '/other')",
    "connect": "socket.socket()",
    "send datagrams": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "talk to processes of this machine": "socket.socket(socket.AF_UNIX)",
    "ask the kernel by netlink": "socket.socket(16, 3, 0)",
    "start a process": "os.fork()",
    "execute a program": "os.execv('/bin/true', ['true'])",
    "start a program": "subprocess.run(['/bin/true'])",
    "signal its parent": "os.kill(PARENT, 0)",
    "look into its parent": "os.pidfd_open(PARENT)",
    "become somebody else": "os.setuid(os.getuid())",
    "make a namespace": "call(272 if X86 else 97, 0x10000000)",
    "trace a process": "call(101 if X86 else 117, 16, PARENT, 0, 0)",
    "load a program into the kernel": "call(321 if X86 else 280, 0, 0, 0)",
    "use io_uring": "call(425, 8, 0)",
    "mount": "call(165 if X86 else 40, 0, 0, 0, 0, 0)",
    "use keys of the kernel": "call(250 if X86 else 219, 0, 0, 0, 0, 0)",
}
ALLOWED: Final = {
    "compute": "sum(range(10))",
    "start a thread": "threading.Thread(target=print).start()",
    "signal itself": "os.kill(os.getpid(), 0)",
    "get memory": "bytearray(1 << 20)",
}


def _run(code: str, *, head: str = _HEAD) -> subprocess.CompletedProcess[str]:
    program = f"{_CALL}{head}\ntry:\n    {code}\nexcept PermissionError:\n    os._exit({_REFUSED})\nos._exit(0)"
    command = [sys.executable, "-c", program]
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "TMPDIR": folder}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=50, check=False, stdin=subprocess.DEVNULL, env=env
        )


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED.keys())
def test_a_confined_process_is_refused(code: str) -> None:
    ended = _run(code)
    assert ended.returncode == _REFUSED, ended.stderr


@pytest.mark.parametrize("name", ["read a file", "list a folder", "read about processes", "connect", "start a program"])
def test_the_same_is_not_refused_without(name: str) -> None:
    """Else the test above would show nothing."""
    assert _run(REFUSED[name], head=_HEAD.replace("confine()", "os.chdir('/')")).returncode == 0


@pytest.mark.parametrize("code", ALLOWED.values(), ids=ALLOWED.keys())
def test_a_confined_process_may_still(code: str) -> None:
    ended = _run(code)
    assert ended.returncode == 0, ended.stderr


def test_what_was_open_before_stays_open() -> None:
    """So workers open nothing that code must not read."""
    assert _run("assert os.read(held, 4) == b'text'").returncode == 0


def test_only_the_named_program_can_be_executed() -> None:
    program, other = Path("/bin/true").resolve(), Path("/bin/false").resolve()
    head = f"""
from pathlib import Path
from flowyard_sandbox.confine import confine
libraries = map(Path, ("/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache"))
confine(programs=[Path({str(program)!r})], libraries=[*libraries])
"""
    assert _run(f"os.execv({str(program)!r}, ['true'])", head=head).returncode == 0
    assert _run(f"os.execv({str(other)!r}, ['false'])", head=head).returncode == _REFUSED


_LIMITED: Final = "import os\nfrom flowyard_sandbox.confine import limit_resources\nlimit_resources"


def test_the_kernel_ends_a_process_that_takes_too_much_time() -> None:
    assert _run("\n    while True: pass", head=f"{_LIMITED}(memory=1 << 30, cpu_s=1)").returncode < 0


def test_the_kernel_refuses_memory_beyond_the_limit() -> None:
    code = "\n    try:\n        bytearray(200 << 20)\n    except MemoryError:\n        os._exit(33)"
    assert _run(code, head=f"{_LIMITED}(memory=100 << 20, cpu_s=50)").returncode == 33
