"""Runs a service's `main` in a process that ends when its supervisor does, even by `kill -9`.

`python -m flowyard_embedded.stack.leash DATA NAME MODULE`: standard input is the leash, a pipe of which only the
supervisor has the other end. By DATA and NAME a later start recognises a process that was left behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from flowyard_embedded.startup import quick_imports

MODULE: Final = "flowyard_embedded.stack.leash"
GRACE_S: Final = 5.0
"""How long a service without a supervisor has to finish its work."""


def command(data: Path, name: str, module: str) -> list[str]:
    # -P: never import a file such as logging.py from the user's working directory.
    return [sys.executable, "-P", "-m", MODULE, str(data), name, module]


def main() -> None:
    threading.Thread(target=_end_with_supervisor, name="leash", daemon=True).start()
    module = sys.argv[3]
    sys.argv = [module]
    with quick_imports():
        service = import_module(module)
    sys.exit(service.main())


def _end_with_supervisor() -> None:
    # Nothing is ever written to this pipe: a read returns when the other end is closed.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
