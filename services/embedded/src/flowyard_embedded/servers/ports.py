"""Ports of 127.0.0.1."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable
from typing import Final, TypeVar

from flowyard_embedded.servers.faults import PortTaken, ServerFailed

LOOPBACK: Final = "127.0.0.1"
_ATTEMPTS: Final = 5
_QUIET: Final = range(20_000, 32_000)
"""Below the ports that Linux (32768 and more) and macOS (49152 and more) give to outgoing connections."""
_LOOKS: Final = 50

Started = TypeVar("Started")


def start_on(asked: int | None, title: str, start: Callable[[int], Started]) -> Started:
    """Starts on the port that was asked for, or on a free one. Raises PortTaken, and what `start` raises."""
    if asked is not None:
        return _start(asked, title, start)
    for _ in range(_ATTEMPTS - 1):
        try:
            return _start(_free_port(), title, start)
        except PortTaken:
            continue
    return _start(_free_port(), title, start)


def _start(port: int, title: str, start: Callable[[int], Started]) -> Started:
    if _is_taken(port):
        raise PortTaken(title, port)
    try:
        return start(port)
    except ServerFailed as error:
        # Somebody was quicker.
        if _is_taken(port):
            raise PortTaken(title, port) from error
        raise


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections of an earlier one that are still closing don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _free_port() -> int:
    """Until something listens on it, only a port that no outgoing connection is given stays free."""
    for port in random.sample(_QUIET, _LOOKS):
        if not _is_taken(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
