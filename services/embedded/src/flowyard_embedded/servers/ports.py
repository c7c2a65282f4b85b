"""Ports of 127.0.0.1."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from flowyard_embedded.faults import PortTaken, ServerFailed

LOOPBACK: Final = "127.0.0.1"
_ATTEMPTS: Final = 5
_QUIET: Final = range(20_000, 32_000)
"""Below the ports that Linux (32768 and more) and macOS (49152 and more) give to outgoing connections."""
_LOOKS: Final = 50
_RESERVED: Final[set[int]] = set()
"""Ports that this process has chosen already: the server or service that gets one may not listen on it yet."""

Started = TypeVar("Started")


def start_on(port: int | None, title: str, start: Callable[[int], Started]) -> Started:
    """Starts on `port`; None: on a free one. Raises PortTaken, and what `start` raises."""
    if port is None:
        for _ in range(_ATTEMPTS - 1):
            with suppress(PortTaken):
                return _start(free_port(), title, start)
    return _start(free_port() if port is None else port, title, start)


def _start(port: int, title: str, start: Callable[[int], Started]) -> Started:
    if is_taken(port):
        raise PortTaken(title, port)
    try:
        return start(port)
    except ServerFailed as error:
        # Another program has taken the port in the meantime.
        if is_taken(port):
            raise PortTaken(title, port) from error
        raise


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # Servers set this too: closing connections of an earlier server don't keep them from the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def free_port() -> int:
    """A port below those of outgoing connections: another one might be taken before the server listens on it."""
    for port in random.sample(_QUIET, _LOOKS):
        if port not in _RESERVED and not is_taken(port):
            _RESERVED.add(port)
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
