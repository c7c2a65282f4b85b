"""Receives messages of NATS for triggers: which there are, is read from Postgres again and again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from flowyard.api.triggers import HookResult
from flowyard.bus import subjects
from flowyard.bus.doorbell import Doorbell, doorbell
from flowyard.bus.messages import RunEvents, WorkflowChanged
from flowyard.bus.trigger_stream import Consumer, OpenStream, RequestMessage, StreamMessage
from flowyard.control.deliver import Delivered, LiveTrigger, StaleTrigger
from flowyard.control.submit import new_run_id
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidDocument, QueueFull
from flowyard.errors.services import Unavailable
from flowyard.errors.webhooks import TooManyDeliveries, TriggerPaused
from flowyard.language.triggers import Messages, Requests
from flowyard.runs.run import Run
from flowyard.storage.triggers import StoredTrigger
from flowyard.tasks import cancel
from flowyard_registry.message import (
    dead_letter,
    deliver_message,
    incoming_message,
    incoming_request,
    read_live,
    record_paused,
)
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0
_LAG_EVERY_S: Final = 10.0
_PAUSE_S: Final = 1.0
_HOLD_S: Final = 2.0
"""Between tries while the queue is full, or Postgres away."""
_RETRY_S: Final = (1.0, 5.0, 30.0, 120.0)
_REQUESTS_AT_ONCE: Final = 500


async def receive_messages(parts: RegistryParts) -> NoReturn:
    """Runs until it is cancelled. Several registries share the messages."""
    failing = ""
    async with doorbell(parts.bus, subjects.WORKFLOWS_CHANGED, WorkflowChanged, poll_s=_LOOK_EVERY_S) as bell:
        while True:
            try:
                opened = await parts.trigger_stream.open()
                failing = ""
                await _Receiving(parts, opened).run(bell)
            except Unavailable as error:
                if parts.bus.connected and failing != error.message:
                    log.warning("messages aren't received: %s", error.message)
                    failing = error.message
            await asyncio.sleep(_PAUSE_S)


@dataclass(frozen=True, slots=True)
class _Place:
    """A trigger at its subject. `is_request`: it answers."""

    workflow: str
    name: str
    consumer: Consumer
    is_request: bool


class _Receiving:
    """All triggers over one connection to NATS: a task for each."""

    def __init__(self, parts: RegistryParts, opened: OpenStream) -> None:
        self._parts = parts
        self._opened = opened
        self._tasks: dict[_Place, asyncio.Task[None]] = {}
        self._failing: set[_Place] = set()
        self._measured_at = 0.0

    async def run(self, bell: Doorbell) -> None:
        """Until the connection is lost. Raises Unavailable."""
        try:
            while self._opened.is_open:
                number = self._parts.rounds.begin()
                await self._look()
                await self._parts.rounds.end(number)
                await self._measure()
                await self._wait(bell)
        finally:
            await cancel(self._tasks.values())

    async def _wait(self, bell: Doorbell) -> None:
        waiting = {asyncio.ensure_future(bell.wait()), asyncio.ensure_future(self._parts.rounds.bell.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(waiting)

    async def _look(self) -> None:
        # First the consumers: one that is made meanwhile is of a trigger that isn't read yet.
        consumers = await self._opened.consumers()
        stored = await self._parts.triggers.of_kind("nats")
        live = {place: trigger for trigger in stored if (place := await self._place(trigger)) is not None}
        for name in consumers - {place.consumer.name for place in live}:
            await self._opened.remove(name)
        for place, trigger in live.items():
            try:
                await self._update(place, trigger, has_consumer=place.consumer.name in consumers)
            except Unavailable as error:
                # One whose subject the stream hasn't, or not any more, is no reason to stop the others.
                self._report(place, error)
        for place in set(self._tasks) - set(live):
            await self._end(place)

    async def _update(self, place: _Place, trigger: StoredTrigger, *, has_consumer: bool) -> None:
        if not place.is_request and not has_consumer:
            await self._opened.add(place.consumer)
            await self._end(place)
        if trigger.is_live or place.is_request:
            await self._begin(place)
        else:
            await self._end(place)
        self._failing.discard(place)

    def _report(self, place: _Place, error: Unavailable) -> None:
        """Once, until it works."""
        if place not in self._failing:
            log.warning("messages of a trigger aren't received: %s", error.message, extra=_facts(place))
        self._failing.add(place)

    async def _place(self, stored: StoredTrigger) -> _Place | None:
        try:
            documents = self._parts.control.documents
            workflow = await documents.get(stored.workflow, stored.definition, stored.digest)
        except InvalidDocument as error:
            log.warning("a trigger can't be read: %s", error.message, extra={"workflow": stored.workflow})
            return None
        return _place_of(stored, is_request=isinstance(workflow.triggers[stored.name].source, Requests))

    async def _begin(self, place: _Place) -> None:
        if (task := self._tasks.get(place)) is not None and not task.done():
            return
        ready = asyncio.Event()
        work = _Answering if place.is_request else _Consuming
        task = self._tasks[place] = asyncio.create_task(work(self._parts, self._opened, place).run(ready))
        is_ready = asyncio.create_task(ready.wait())
        await asyncio.wait({task, is_ready}, return_when=asyncio.FIRST_COMPLETED)
        await cancel([is_ready])

    async def _end(self, place: _Place) -> None:
        if (task := self._tasks.pop(place, None)) is not None:
            await cancel([task])

    async def _measure(self) -> None:
        if (now := asyncio.get_running_loop().time()) - self._measured_at > _LAG_EVERY_S:
            self._measured_at = now
            lags = [await self._opened.lag_s(place.consumer) for place in self._tasks if not place.is_request]
            self._parts.metrics.triggers.lag.labels("nats").set(max(lags, default=0.0))


class _Consuming:
    """The messages of one trigger."""

    def __init__(self, parts: RegistryParts, opened: OpenStream, place: _Place) -> None:
        self._parts = parts
        self._opened = opened
        self._place = place
        self._live: LiveTrigger | None = None

    async def run(self, ready: asyncio.Event) -> None:
        """Until it is cancelled, or the trigger is gone or paused, or the consumer."""
        ready.set()
        try:
            async with aclosing(self._opened.batches(self._place.consumer)) as batches:
                async for batch in batches:
                    if not all(await asyncio.gather(*(self._receive(message) for message in batch))):
                        return
        except Unavailable as error:
            log.info("messages of a trigger aren't received: %s", error.message, extra=_facts(self._place))

    async def _receive(self, message: StreamMessage) -> bool:
        """False: it isn't for this trigger any more, or not yet again."""
        async with message.kept():
            try:
                live = await self._deliver(message)
            except asyncio.CancelledError:
                # Not at once: it could come back to the subscription that is about to end.
                await message.retry(_PAUSE_S)
                raise
            except Exception as error:  # this loop must survive any error of one message
                log.exception("a message could not be delivered", extra=_facts(self._place) | {"tries": message.tries})
                return await self._tried(message, type(error).__name__)
        if live:
            await message.acknowledge()
        else:
            await message.retry(_PAUSE_S)
        return live

    async def _tried(self, message: StreamMessage, why: str) -> bool:
        if (live := self._live) is None or not isinstance(live.trigger.source, Messages):
            await message.retry(_PAUSE_S)
            return False
        source = live.trigger.source
        if message.tries < source.tries:
            await message.retry(_RETRY_S[min(message.tries, len(_RETRY_S)) - 1])
            return True
        incoming = incoming_message(message, only_by_id=source.only_by_id)
        try:
            await dead_letter(self._parts, live, incoming, f"given up after {message.tries} tries: {why}")
        except Unavailable:
            await message.retry(_PAUSE_S)
            return True
        await message.acknowledge()
        return True

    async def _deliver(self, message: StreamMessage) -> bool:
        """True: what became of it is stored. It waits while that can't be, so that the message isn't tried again."""
        while True:
            try:
                live = self._live = self._live or await self._read()
                if live is None:
                    return False
                source = live.trigger.source
                assert isinstance(source, Messages)  # noqa: S101  # `_read` has seen to that
                incoming = incoming_message(message, only_by_id=source.only_by_id)
                if message.tries > source.tries:
                    reason = f"given up after {source.tries} tries: whatever received it has ended meanwhile"
                    await dead_letter(self._parts, live, incoming, reason)
                else:
                    await deliver_message(self._parts, live, incoming, is_text=source.is_text, run_id=new_run_id())
            except StaleTrigger:
                self._live = None
            except (QueueFull, Unavailable) as error:
                log.info("a message waits: %s", error.message, extra=_facts(self._place))
                await asyncio.sleep(_HOLD_S)
            else:
                return True

    async def _read(self) -> LiveTrigger | None:
        """None if the trigger isn't live at this subject any more. Raises InvalidDocument."""
        live = await read_live(self._parts, self._place.workflow, self._place.name)
        if live is None or not live.stored.is_live or not isinstance(live.trigger.source, Messages):
            return None
        return live if _place_of(live.stored, is_request=False) == self._place else None


class _Answering:
    """The requests of one trigger."""

    def __init__(self, parts: RegistryParts, opened: OpenStream, place: _Place) -> None:
        self._parts = parts
        self._opened = opened
        self._place = place
        self._at_work: set[asyncio.Task[None]] = set()

    async def run(self, ready: asyncio.Event) -> None:
        """Until it is cancelled: then requests that wait are answered that they have to be sent again."""
        try:
            async with self._opened.requests(self._place.consumer.subject, self._received):
                ready.set()
                await asyncio.Event().wait()
        except Unavailable as error:
            log.info("requests aren't received: %s", error.message, extra=_facts(self._place))
        finally:
            await cancel(self._at_work)

    async def _received(self, request: RequestMessage) -> None:
        if len(self._at_work) >= _REQUESTS_AT_ONCE:
            await _refuse(request, TooManyDeliveries(retry_after=_HOLD_S))
            return
        task = asyncio.create_task(self._answer(request))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)

    async def _answer(self, request: RequestMessage) -> None:
        try:
            await self._answered(request)
        except asyncio.CancelledError:
            await _refuse(request, Unavailable("the trigger"))
            raise
        except FlowyardError as error:
            await _refuse(request, error)
        except Exception:  # this process must survive any error of one request
            log.exception("a request could not be answered", extra=_facts(self._place))
            await _refuse(request, Unavailable("the registry"))

    async def _answered(self, request: RequestMessage) -> None:
        incoming = incoming_request(request)
        while True:
            live = await read_live(self._parts, self._place.workflow, self._place.name)
            if live is None or not isinstance(live.trigger.source, Requests):
                raise Unavailable("the trigger")
            if not live.stored.is_live:
                await record_paused(self._parts, live, incoming)
                raise TriggerPaused
            source, run_id = live.trigger.source, new_run_id()
            try:
                done = await deliver_message(self._parts, live, incoming, is_text=source.is_text, run_id=run_id)
                break
            except StaleTrigger:
                continue
        if done.error is not None:
            raise done.error
        run = await self._ended(done, source.wait_s) if done.run_id is not None else None
        await _send(request, done, run)

    async def _ended(self, done: Delivered, wait_s: float) -> Run:
        """The run when it has ended, or as it is after `wait_s` seconds."""
        run_id = done.run_id
        assert run_id is not None  # noqa: S101  # by its only caller
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(wait_s),
                doorbell(self._parts.bus, subjects.run_events(run_id), RunEvents, poll_s=_LOOK_EVERY_S) as bell,
            ):
                while True:
                    if (run := await self._parts.control.runs.get_ended(run_id)) is not None:
                        return run
                    await bell.wait()
        return await self._parts.control.runs.get(run_id)


async def _send(request: RequestMessage, done: Delivered, run: Run | None) -> None:
    result = HookResult(delivery=done.id, outcome=done.outcome, run_id=done.run_id)
    if run is not None:
        result = result.with_result(run)
    body = result.model_dump_json(exclude_none=True).encode()
    if not request.fits(body):
        # The caller reads them by HTTP.
        result.outputs = None
        body = result.model_dump_json(exclude_none=True).encode()
    await request.answer(body, {})


async def _refuse(request: RequestMessage, error: FlowyardError) -> None:
    """An error, in the way of NATS' services: two headers say that it is one."""
    headers = {"Nats-Service-Error-Code": str(error.status), "Nats-Service-Error": error.code}
    await request.answer(json.dumps({"code": error.code, "message": error.message}).encode(), headers)


def _place_of(stored: StoredTrigger, *, is_request: bool) -> _Place:
    about = f"{stored.workflow}/{stored.name}"
    identity = f"{about}\n{stored.subject}\n{stored.created_at.isoformat()}"
    digest = hashlib.sha256(identity.encode(errors="replace")).hexdigest()[:24]
    consumer = Consumer(digest, stored.subject or "", stored.created_at, about)
    return _Place(stored.workflow, stored.name, consumer, is_request)


def _facts(place: _Place) -> dict[str, Any]:
    return {"workflow": place.workflow, "trigger": place.name}
