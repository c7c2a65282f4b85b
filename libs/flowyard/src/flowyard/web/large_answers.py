"""Answers of many megabytes: only a few are in memory at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flowyard.errors.requests import TooBusy
from flowyard.web.slow_readers import PacedResponse

_AT_ONCE: Final = 4
_WAIT_S: Final = 10.0


class LargeAnswers:
    """`at_once`: how many may be read or sent at a time. The next ones wait for `wait_s`, then are refused."""

    def __init__(self, *, at_once: int = _AT_ONCE, wait_s: float = _WAIT_S) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._wait_s = wait_s

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises TooBusy."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise TooBusy from error
        try:
            yield
        finally:
            self._turns.release()


class LargeAnswer(Response):
    """JSON that is loaded when its turn has come. Raises TooBusy, and as `load`."""

    media_type = "application/json"

    def __init__(self, answers: LargeAnswers, load: Callable[[], Awaitable[bytes]]) -> None:
        super().__init__()
        self._answers = answers
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._answers.turn():
            await PacedResponse(await self._load(), media_type=self.media_type)(scope, receive, send)
