"""Runs a service's `main` in a process that ends when its supervisor does, even by `kill -9`.

`python -m flowyard_embedded.stack.leash DATA NAME MODULE [UNUSED…]`: standard input is the leash, a socket of which
only the supervisor has the other end. By DATA and NAME a later start recognises a process that was left behind. UNUSED
are packages that the service must not import.

When the log file is full, to which the process writes its output, the supervisor sends another one over the leash. The
process couldn't open it itself: where root starts the stack, services run as a user who may not.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from flowyard_embedded.startup import pretend_missing, quick_imports

MODULE: Final = "flowyard_embedded.stack.leash"
GRACE_S: Final = 5.0
"""How long a service without a supervisor has to finish its work."""
_MESSAGE_BYTES: Final = 16
_STDOUT: Final = 1
_STDERR: Final = 2


def command(data: Path, name: str, module: str, unused: Sequence[str] = ()) -> list[str]:
    # -P: never import a file such as logging.py from the user's working directory.
    return [sys.executable, "-P", "-m", MODULE, str(data), name, module, *unused]


def main() -> None:
    threading.Thread(target=_follow_supervisor, name="leash", daemon=True).start()
    _, _, _, module, *unused = sys.argv
    sys.argv = [module]
    pretend_missing(unused)
    with quick_imports():
        service = import_module(module)
    sys.exit(service.main())


def _follow_supervisor() -> None:
    leash = socket.socket(fileno=0)
    # Nothing comes when the other end is closed.
    while (received := socket.recv_fds(leash, _MESSAGE_BYTES, 1))[0]:
        for descriptor in received[1]:
            os.dup2(descriptor, _STDOUT)
            os.dup2(descriptor, _STDERR)
            os.close(descriptor)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
