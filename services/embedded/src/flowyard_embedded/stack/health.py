"""Whether a service on 127.0.0.1 says that it can do its work."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from flowyard_embedded.servers.ports import LOOPBACK

_ANSWER_WITHIN_S: Final = 3.0
_SOON_S: Final = 0.05
_LATER_S: Final = 1.0
_REQUEST: Final = b"GET /health/ready HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"


async def until_healthy(port: int) -> None:
    """Asks again and again, ever less often."""
    pause = _SOON_S
    while not await is_healthy(port):
        await asyncio.sleep(pause)
        pause = min(pause * 1.05, _LATER_S)


async def is_healthy(port: int) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(_REQUEST)
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
    return False
