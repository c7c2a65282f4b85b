"""Combines calls that are made at the same time into one statement."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from flowyard.errors.services import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Send: TypeAlias = Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]]


@dataclass(frozen=True, slots=True)
class _Call(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]


class Shared(Generic[Item, Answer]):
    """One statement runs at a time, with up to `most` items. Calls that are made meanwhile share the next statement.

    `send` gets the items of several callers, and returns one result per item, in their order. It continues if a caller
    is cancelled. If it raises Unavailable, so does each call; for any other error, the items are halved until the item
    that causes it is alone. A caller has one item, so there are never more of them than the process has requests.
    """

    def __init__(self, send: Send[Item, Answer], *, most: int) -> None:
        self._send = send
        self._most = most
        self._waiting: deque[_Call[Item, Answer]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def call(self, item: Item) -> Answer:
        """Raises as `send`."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(item, answer))
        if self._sending is None:
            # It begins in the next turn of the loop: all who call in this one take part.
            self._sending = asyncio.create_task(self._send_all())
        return await answer

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                await self._answer([call for call in taken if not call.answer.done()])
        finally:
            self._sending = None

    async def _answer(self, calls: Sequence[_Call[Item, Answer]]) -> None:
        if not calls:
            return
        try:
            answers = await self._send([call.item for call in calls])
        except Exception as error:  # noqa: BLE001  # it is raised where somebody waits
            if len(calls) > 1 and not isinstance(error, Unavailable):
                half = len(calls) // 2
                await self._answer(calls[:half])
                await self._answer(calls[half:])
                return
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(error)
            return
        for call, answer in zip(calls, answers, strict=True):
            if not call.answer.done():
                call.answer.set_result(answer)
