"""Answers of many megabytes: only a few are in memory at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flowyard.web.slow_readers import PacedResponse
from flowyard.web.turns import Turns

_AT_ONCE: Final = 4


def turns_of_large_answers() -> Turns:
    return Turns("large answers", at_once=_AT_ONCE)


class LargeAnswer(Response):
    """JSON that is loaded when its turn has come. Raises TooBusy, and as `load`."""

    media_type = "application/json"

    def __init__(self, answers: Turns, load: Callable[[], Awaitable[bytes]]) -> None:
        super().__init__()
        self._answers = answers
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._answers.turn():
            await PacedResponse(await self._load(), media_type=self.media_type)(scope, receive, send)
