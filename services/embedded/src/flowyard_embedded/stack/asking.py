"""Asks a service on this machine how it is, by HTTP: the process itself has to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Literal, TypeAlias

from flowyard_embedded.servers.ports import LOOPBACK

Answer: TypeAlias = Literal["yes", "no", "nothing listens", "silent"]
"""`silent`: the connection was accepted, perhaps only by the kernel, and no answer came in time."""

_READY_WITHIN_S: Final = 3.0
"""Longer than the checks of a service take at most."""
_ALIVE_WITHIN_S: Final = 2.0
_SOON_S: Final = 0.05
_LATER_S: Final = 1.0


async def is_ready(port: int) -> AsyncIterator[Answer]:
    """Asks again and again, less and less often, whether the service can work."""
    pause = _SOON_S
    while True:
        yield await _ask(port, b"/health/ready", within_s=_READY_WITHIN_S)
        await asyncio.sleep(pause)
        pause = min(pause * 1.05, _LATER_S)


async def is_alive(port: int) -> AsyncIterator[Answer]:
    """Asks every second, without end, whether the process answers at all, without looking at what it needs."""
    while True:
        await asyncio.sleep(_LATER_S)
        yield await _ask(port, b"/health/live", within_s=_ALIVE_WITHIN_S)


async def greets(port: int, hello: bytes) -> AsyncIterator[bool]:
    """Asks every second, without end, whether a server that isn't one of ours answers. `hello`: what it answers to."""
    while True:
        await asyncio.sleep(_LATER_S)
        yield await _greets(port, hello)


async def _greets(port: int, hello: bytes) -> bool:
    try:
        async with asyncio.timeout(_ALIVE_WITHIN_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(hello)
                return bool(await reader.read(1))
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def _ask(port: int, path: bytes, *, within_s: float) -> Answer:
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(b"GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n" % path)
                line = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        return "silent"
    except OSError:
        return "nothing listens"
    return "yes" if line.split()[1:2] == [b"200"] else "no"
