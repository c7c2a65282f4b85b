"""Processes beside the measurement: started when they listen, ended with their block."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

_START_S: Final = 30


@contextmanager
def process(*command: str, port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Returns when it listens."""
    started = time.perf_counter()
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as running:
        try:
            while not listens(port):
                if running.poll() is not None or time.perf_counter() - started > _START_S:
                    raise SystemExit(f"{command} doesn't start")
                time.sleep(0.05)
            yield running
        finally:
            running.terminate()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])
