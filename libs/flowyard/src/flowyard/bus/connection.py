"""The bus: publish and subscribe. Neither waits for NATS, and neither fails without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from nats.aio.client import Client
from nats.errors import Error, MaxPayloadError

from flowyard.bus.backlog import Backlog
from flowyard.bus.drops import Drops, OnDrop
from flowyard.bus.link import Link
from flowyard.bus.messages import Announcement, M, decode, encode
from flowyard.bus.subscription import Handler, Subscription
from flowyard.tasks import cancel

_OUTBOX_MESSAGES: Final = 10_000
_OUTBOX_BYTES: Final = 8 * 1024 * 1024
_SEND_AHEAD_BYTES: Final = 64 * 1024
"""So much is given to nats-py before its socket has taken it: what is in transit when the connection breaks is lost."""
_FLUSH_S: Final = 0.7
_CLOSE_S: Final = 0.7


class _Outgoing(NamedTuple):
    subject: str
    payload: bytes
    kind: str


class Bus:
    """Made by `open_bus`."""

    def __init__(self, url: str, *, name: str, on_drop: OnDrop, on_connect: Callable[[], None]) -> None:
        self._drops = Drops(on_drop)
        self._on_connect = on_connect
        self._link = Link(url, name=name, on_up=self._subscribe_all, on_refused=self._refused)
        self._outbox = Backlog[_Outgoing](items=_OUTBOX_MESSAGES, size=_OUTBOX_BYTES)
        self._subscriptions: dict[Subscription[Any], None] = {}

    @property
    def connected(self) -> bool:
        return self._link.connected

    @property
    def client(self) -> Client | None:
        """For what this class can't do. None while NATS isn't connected; another one after each reconnect."""
        return self._link.client if self.connected else None

    @property
    def server_version(self) -> str | None:
        """None while NATS isn't connected."""
        return self._link.server_version

    def publish(self, message: Announcement) -> None:
        """Returns at once, never raises. Keeps messages while NATS is down: the newest 10,000, or 8 MB."""
        kind = type(message).__name__
        try:
            payload = encode(message)
        except ValueError as error:
            self._drops.add("unencodable", kind, type(error).__name__)
            return
        for dropped in self._outbox.put(_Outgoing(message.subject, payload, kind), len(payload)):
            self._drops.add("outbox_full", dropped.kind)

    async def deliver(self, message: Announcement) -> None:
        """Publishes, and returns when NATS has the message: subscribers get it before anything that is done next.

        Waits at most 0.7 s, and not at all while NATS isn't connected: then it is as `publish`. Never raises.
        """
        self.publish(message)
        await self._flush()

    async def request(self, message: Announcement, kind: type[M], *, within_s: float) -> M | None:
        """The answer of one of those who receive the message. None: nobody has given one in time, or NATS is away."""
        client = self.client
        if client is None:
            return None
        with suppress(Error, ValueError):
            answer = await client.request(message.subject, encode(message), timeout=within_s)
            return decode(kind, answer.data)
        return None

    @asynccontextmanager
    async def subscribe(
        self,
        subject: str,
        kind: type[M],
        handler: Handler[M],
        *,
        queue: str = "",
        at_once: int = 1,
        missed: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[None]:
        """Hands the messages of `subject` to `handler`, one after the other and in order, through every reconnect.

        If NATS is up, everything published after this block was entered arrives. `missed` is called whenever
        something may not have been: when it begins, after each reconnect, and when the handler was too slow. With a
        `queue` each message goes to one of the subscribers who name it. `at_once`: so many are handled at a time, and
        begin in order. What can't be decoded, and a handler that raises, is counted and logged.
        """
        subscription = Subscription(
            subject, kind, handler, queue=queue, at_once=at_once, missed=missed, drops=self._drops
        )
        self._subscriptions[subscription] = None
        handling = asyncio.create_task(subscription.handle_all())
        try:
            await self._subscribe(subscription)
            yield
        finally:
            del self._subscriptions[subscription]
            await cancel([handling])
            await subscription.unsubscribe()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = {asyncio.create_task(self._link.keep()), asyncio.create_task(self._send_all())}
        try:
            yield
        finally:
            await self._flush()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CLOSE_S)

    async def _send_all(self) -> None:
        while True:
            await self._outbox.filled()
            client = await self._ready_client()
            outgoing = self._outbox.take()
            try:
                await client.publish(outgoing.subject, outgoing.payload)
            except MaxPayloadError:
                self._drops.add("too_large", outgoing.kind)
            except Exception as error:  # noqa: BLE001  # the sender must survive any error of a broken socket
                self._drops.add("not_sent", outgoing.kind, str(error))

    async def _ready_client(self) -> Client:
        while True:
            client = await self._link.next_client()
            if client.is_connected and client.pending_data_size <= _SEND_AHEAD_BYTES:
                return client
            await asyncio.sleep(0.001)

    async def _flush(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                while self.connected and len(self._outbox):  # noqa: ASYNC110  # a millisecond, unless NATS is slow
                    await asyncio.sleep(0.001)
                if (client := self.client) is not None:
                    await self._link.flush(client, timeout_s=_FLUSH_S)

    async def _subscribe(self, subscription: Subscription[Any]) -> None:
        client = self._link.client
        if client is None:
            return
        # After an error the connection is breaking, and the next connection subscribes.
        with suppress(Error):
            await subscription.subscribe(client)
            await self._link.flush(client, timeout_s=_FLUSH_S)
            subscription.missed()

    async def _subscribe_all(self, client: Client) -> None:
        for subscription in list(self._subscriptions):
            if subscription in self._subscriptions:  # its block may have ended meanwhile
                await subscription.subscribe(client)
        await self._link.flush(client, timeout_s=_FLUSH_S)
        for subscription in list(self._subscriptions):
            subscription.missed()
        self._on_connect()

    def _refused(self, detail: str) -> None:
        self._drops.add("not_permitted", "any", detail)


@asynccontextmanager
async def open_bus(
    url: str, *, name: str, on_drop: OnDrop = lambda _reason, _kind: None, on_connect: Callable[[], None] = lambda: None
) -> AsyncIterator[Bus]:
    """Doesn't wait for NATS: it connects when it can, and again after each lost connection. Closes within 2 s.

    `url` is such as `nats://user:password@host:4222`; `name` is shown in the server's own reports.
    """
    bus = Bus(url, name=name, on_drop=on_drop, on_connect=on_connect)
    async with bus.running():
        yield bus
