"""One subscription, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, NoReturn, TypeAlias

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error

from flowyard.bus.backlog import Backlog
from flowyard.bus.drops import Drops
from flowyard.bus.messages import BusMessage, M, decode, encode
from flowyard.tasks import cancel

Handler: TypeAlias = Callable[[M], Awaitable[BusMessage | None]]
"""What it returns is sent to whoever has sent the message as a request."""

_MOST_MESSAGES: Final = 4096
_MOST_BYTES: Final = 8 * 1024 * 1024
_END_S: Final = 1.0

_log = logging.getLogger(__name__)


class Subscription(Generic[M]):
    """Has a backlog and a task of its own: a slow handler loses messages, but doesn't delay other subscriptions.

    A subscription of nats-py would end with its connection, cancelling a handler in the middle of its work.
    """

    def __init__(
        self,
        subject: str,
        kind: type[M],
        handler: Handler[M],
        *,
        queue: str,
        at_once: int,
        missed: Callable[[], None],
        drops: Drops,
    ) -> None:
        self._subject = subject
        self._kind = kind
        self._handler = handler
        self._queue = queue
        self._at_once = at_once
        self.missed = missed
        self._drops = drops
        self._backlog = Backlog[Msg](items=_MOST_MESSAGES, size=_MOST_BYTES)
        self._client: Client | None = None
        self._subscription: NatsSubscription | None = None

    async def subscribe(self, client: Client) -> None:
        """Subscribes at the server, once per client."""
        if self._client is client:
            return
        self._client = client
        self._subscription = await client.subscribe(self._subject, queue=self._queue, cb=self._receive)

    async def unsubscribe(self) -> None:
        if self._subscription is not None:
            with suppress(Error):
                await self._subscription.unsubscribe()

    async def handle_all(self) -> None:
        """Runs until it is cancelled."""
        if self._at_once > 1:
            await self._handle_side_by_side()
        while True:
            await self._backlog.filled()
            await self._handle(self._backlog.take())

    async def _handle_side_by_side(self) -> NoReturn:
        free, handling = asyncio.Semaphore(self._at_once), set[asyncio.Task[None]]()
        try:
            while True:
                await free.acquire()
                await self._backlog.filled()
                task = asyncio.create_task(self._handle(self._backlog.take()))
                handling.add(task)
                task.add_done_callback(handling.discard)
                task.add_done_callback(lambda _: free.release())
        finally:
            # Those that have begun may still answer.
            if handling:
                await asyncio.wait(handling, timeout=_END_S)
            await cancel(handling)

    async def _receive(self, received: Msg) -> None:
        dropped = self._backlog.put(received, len(received.data))
        for _ in dropped:
            self._drops.add("slow_consumer", self._kind.__name__)
        if dropped:
            self.missed()

    async def _handle(self, received: Msg) -> None:
        try:
            message = decode(self._kind, received.data, subject=received.subject)
        except ValueError as error:
            self._drops.add("undecodable", self._kind.__name__, str(error))
            return
        try:
            answer = await self._handler(message)
            if answer is not None and received.reply:
                # Without its connection nobody gets the answer: they ask again.
                with suppress(Error):
                    await received.respond(encode(answer))
        except Exception:  # noqa: BLE001  # the loop must survive any error of a handler
            _log.exception("bus handler failed", extra={"kind": self._kind.__name__})
            self._drops.add("handler_failed", self._kind.__name__)
