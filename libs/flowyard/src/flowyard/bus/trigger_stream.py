"""The JetStream stream of messages that start runs, and requests, which no stream keeps.

A consumer per trigger. Messages are acknowledged by whoever has stored what became of them; what isn't acknowledged
comes again. All that is opened here is of one connection: after it is lost, it has to be opened again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from flowyard.bus.connection import Bus
from flowyard.bus.subjects import TRIGGER_STREAM
from flowyard.errors.services import Unavailable
from flowyard.tasks import cancel

log = logging.getLogger(__name__)

_MESSAGE_ID: Final = "nats-msg-id"
_CONSUMER: Final = "flowyard-"
"""How the names of our consumers begin. Others may read the stream, too."""
_DEDUPE_S: Final = 600.0
_TIMEOUT_S: Final = 5.0
_ACK_WAIT_S: Final = 10.0
_KEEP_EVERY_S: Final = 3.0
_FETCH_S: Final = 30.0
_BATCH: Final = 32
_MOST_UNACKED: Final = 256
_QUEUE: Final = "flowyard"


@dataclass(frozen=True, slots=True)
class Consumer:
    """`id`: letters and digits, unique; `since`: it gets what is sent from then on; `about`: for people."""

    id: str
    subject: str
    since: datetime
    about: str

    @property
    def name(self) -> str:
        return _CONSUMER + self.id


class Message:
    """A message of the stream, or a request. Names of headers are in lower case. `id`: None: it has none."""

    def __init__(self, message: Msg) -> None:
        self._message = message
        self.subject: str = message.subject
        self.body: bytes = message.data
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in (message.headers or {}).items()}
        # An empty one is none for JetStream either: it takes all messages that have it.
        self.id = self.headers.get(_MESSAGE_ID) or None


class StreamMessage(Message):
    """`place`: its number in the stream, and when it was stored: no other message has both. `tries`: with this one."""

    def __init__(self, message: Msg) -> None:
        super().__init__(message)
        about = message.metadata
        self.sent_at: datetime = about.timestamp
        self.place = f"{about.sequence.stream}@{about.timestamp.isoformat()}"
        self.tries: int = about.num_delivered

    async def acknowledge(self) -> None:
        """It won't come again. If that is lost, it does."""
        with suppress(Error):
            await self._message.ack()

    async def retry(self, delay_s: float) -> None:
        with suppress(Error):
            await self._message.nak(delay_s)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """While this block runs, nobody else gets the message."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            await cancel([keeping])

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_EVERY_S)
            with suppress(Error):
                await self._message.in_progress()


class RequestMessage(Message):
    def __init__(self, message: Msg, *, most_bytes: int) -> None:
        super().__init__(message)
        self._most_bytes = most_bytes

    def fits(self, body: bytes) -> bool:
        return len(body) < self._most_bytes

    async def answer(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Nothing, if nobody waits for an answer."""
        if self._message.reply:
            with suppress(Error):
                client = self._message._client  # noqa: SLF001  # `respond` takes no headers
                await client.publish(self._message.reply, body, headers=dict(headers) or None)


class TriggerStream:
    """`max_age_s`, `max_bytes`: what the stream keeps at most; the oldest messages go first."""

    def __init__(self, bus: Bus, *, subjects: Sequence[str], max_age_s: float, max_bytes: int) -> None:
        self._bus = bus
        self._config = StreamConfig(
            name=TRIGGER_STREAM,
            description="Messages that start runs",
            subjects=list(subjects),
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            max_age=max_age_s,
            max_bytes=max_bytes,
            duplicate_window=min(_DEDUPE_S, max_age_s),
        )

    async def open(self) -> OpenStream:
        """Makes the stream, unless it is there. Raises Unavailable."""
        client = self._bus.client
        if client is None:
            raise Unavailable("NATS")
        opened = OpenStream(self._bus, client)
        with _translated():
            await opened.make(self._config)
        return opened


class OpenStream:
    def __init__(self, bus: Bus, client: Client) -> None:
        self._bus = bus
        self._client = client
        self._stream = client.jetstream(timeout=_TIMEOUT_S)

    @property
    def is_open(self) -> bool:
        """Whether the connection is still the same."""
        return self._bus.client is self._client

    async def make(self, config: StreamConfig) -> None:
        try:
            info = await self._stream.stream_info(TRIGGER_STREAM)
        except NotFoundError:
            await self._stream.add_stream(config)
            return
        wanted = ("subjects", "retention", "discard", "max_age", "max_bytes", "duplicate_window", "description")
        if any(getattr(info.config, name) != getattr(config, name) for name in wanted):
            changed = info.config.evolve(**{name: getattr(config, name) for name in wanted})
            try:
                await self._stream.update_stream(changed)
            except Error as error:
                # It goes on as it is: a trigger may still name a subject that isn't wanted any more.
                log.warning("the stream of messages can't be changed: %s", error)

    async def consumers(self) -> set[str]:
        """The names of ours. Raises Unavailable."""
        names: list[str] = []
        with _translated():
            while page := await self._stream.consumers_info(TRIGGER_STREAM, offset=len(names)):
                names += [info.name for info in page]
        return {name for name in names if name.startswith(_CONSUMER)}

    async def add(self, consumer: Consumer) -> None:
        """Raises Unavailable."""
        config = ConsumerConfig(
            name=consumer.name,
            durable_name=consumer.name,
            description=consumer.about[:200],
            filter_subject=consumer.subject,
            deliver_policy=DeliverPolicy.BY_START_TIME,
            opt_start_time=consumer.since.astimezone(UTC),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT_S,
            max_ack_pending=_MOST_UNACKED,
        )
        with _translated():
            await self._stream.add_consumer(TRIGGER_STREAM, config)

    async def remove(self, name: str) -> None:
        """Raises Unavailable."""
        with _translated(), suppress(NotFoundError):
            await self._stream.delete_consumer(TRIGGER_STREAM, name)

    async def batches(self, consumer: Consumer) -> AsyncGenerator[list[StreamMessage], None]:
        """Messages as they come. For ever, or raises Unavailable: the consumer is gone, or the connection."""
        with _translated():
            subscription = await self._stream.pull_subscribe_bind(consumer.name, TRIGGER_STREAM)
        try:
            while True:
                # No message for a while is no error.
                fetched: list[Msg] = []
                with _translated(), suppress(TimeoutError):
                    fetched = await subscription.fetch(_BATCH, timeout=_FETCH_S)
                if fetched:
                    yield [StreamMessage(message) for message in fetched]
        finally:
            with suppress(Error):
                await subscription.unsubscribe()

    async def lag_s(self, consumer: Consumer) -> float:
        """How many seconds ago the oldest message was stored that isn't acknowledged; 0: none. Raises Unavailable."""
        with _translated():
            info = await self._stream.consumer_info(TRIGGER_STREAM, consumer.name)
            if not info.num_pending and not info.num_ack_pending:
                return 0.0
            first = (info.ack_floor.stream_seq if info.ack_floor is not None else 0) + 1
            try:
                oldest = await self._stream.get_msg(TRIGGER_STREAM, seq=first, subject=consumer.subject, next=True)
            except NotFoundError:
                return 0.0
        return (datetime.now(UTC) - oldest.time).total_seconds() if oldest.time is not None else 0.0

    @asynccontextmanager
    async def requests(self, subject: str, handle: Callable[[RequestMessage], Awaitable[None]]) -> AsyncIterator[None]:
        """While this block runs, each request goes to one of the processes that receive them. Raises Unavailable."""

        async def received(message: Msg) -> None:
            await handle(RequestMessage(message, most_bytes=self._client.max_payload))

        with _translated():
            subscription = await self._client.subscribe(subject, queue=_QUEUE, cb=received)
            await self._client.flush(timeout=int(_TIMEOUT_S))
        try:
            yield
        finally:
            with suppress(Error):
                await subscription.unsubscribe()


@contextmanager
def _translated() -> Iterator[None]:
    """Not a timeout of a fetch that has found nothing, which its caller suppresses inside."""
    try:
        yield
    except (Error, TimeoutError, OSError) as error:
        raise Unavailable(f"the stream of messages ({str(error) or type(error).__name__})") from error
