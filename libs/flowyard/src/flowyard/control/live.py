"""Follows runs as they go on. NATS is the doorbell: events are read from Postgres, in order and without gaps.

One subscription rings for all runs, or each that is followed has its own. Behind them is a poll, one statement for all
runs that are followed.
Executors announce the events of a run only while they know that somebody follows it, and always that it has moved.
Tokens are subscribed to per run: there may be many of them, and few readers want them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from typing import Final, TypeAlias
from uuid import UUID

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunEvents, RunFollowed, RunTokens
from flowyard.control.listener import RunListener
from flowyard.errors.services import Unavailable
from flowyard.runs.entries import ENDINGS
from flowyard.runs.run import Entry, Run
from flowyard.storage.history import History
from flowyard.storage.runs import Runs
from flowyard.tasks import cancel

LiveItem: TypeAlias = Entry | RunTokens
_PAGE: Final = 100
"""Most events that are read at a time."""
_FALSE_ALARM_S: Final = 0.02
"""Seconds to pause after a message of new events without any: so false messages cause few queries."""
_POLLS_PER_SIGN: Final = 5
"""How many polls long executors aren't reminded that a run is followed. It holds for three times as long."""

log = logging.getLogger(__name__)


class Live:
    """One per process. `running` has to be entered before runs are followed.

    `by_run`: only the runs that `follow` follows are subscribed to, for processes that seldom follow any.
    """

    def __init__(self, bus: Bus, history: History, runs: Runs, *, poll_s: float = 1.0, by_run: bool = False) -> None:
        self._bus = bus
        self._by_run = by_run
        self._history = history
        self._runs = runs
        self._poll_s = poll_s
        self._listeners: dict[UUID, set[RunListener]] = {}
        self._is_over = False

    @asynccontextmanager
    async def running(self, ending: asyncio.Event) -> AsyncIterator[None]:
        """When `ending` is set, all streams of runs end."""
        everything = self._bus.subscribe(subjects.ANY_RUN_EVENTS, RunEvents, self._receive, missed=self._read_all_again)
        async with nullcontext() if self._by_run else everything, asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(work) for work in (self._poll(), self._stop_at(ending))]
            try:
                yield
            finally:
                await cancel(working)

    @contextmanager
    def listen(self, run_id: UUID, *, after: int, only_end: bool = False) -> Iterator[RunListener]:
        """From now on, keeps the run's events for `follow`. `after`: `seq` of the last event that is known already.

        `only_end`: for `until_ended` and `stream_to_end`, which need no other events.
        """
        listener = RunListener(run_id, after, only_end=only_end)
        listener.gone = self._is_over
        self._listeners.setdefault(run_id, set()).add(listener)
        try:
            yield listener
        finally:
            others = self._listeners[run_id]
            others.discard(listener)
            if not others:
                del self._listeners[run_id]

    async def follow(self, listener: RunListener, *, tokens: bool = False) -> AsyncGenerator[LiveItem, None]:
        """The run's events after `listener.last_seq`, once and in order, up to the run's end or that of the process.

        Events from before `listen` come only after `listener.read_again()`. With `tokens`, pieces of replies come
        between the events; those that arrive faster than the reader takes them are lost.
        """
        async with AsyncExitStack() as stack:
            if self._by_run:
                await stack.enter_async_context(self._events(listener))
            if tokens:
                await stack.enter_async_context(self._tokens(listener))
            following = asyncio.create_task(self._keep_following(listener, tokens=tokens))
            stack.callback(following.cancel)
            listener.followed = True
            ended = False
            while not (ended and listener.is_empty) and not listener.gone:
                await listener.wait()
                for item in listener.take():
                    yield item
                if listener.must_read:
                    for entry in await self._read(listener):
                        yield entry
                        ended = _ends(entry)

    async def until_ended(self, listener: RunListener) -> Run | None:
        """The run when it has ended; None if no more will come: it was deleted, or the process ends."""
        listener.followed = True
        while not listener.gone:
            await listener.wait()
            # Before the query: what happens while it runs has to be looked at again.
            listener.clear()
            if (run := await self._ended(listener.run_id)) is not None:
                return run
            await asyncio.sleep(_FALSE_ALARM_S)
        return None

    async def stream_to_end(self, listener: RunListener, *, tokens: bool) -> AsyncGenerator[RunTokens | Run, None]:
        """Pieces of the run's replies as they come, and last the run when it has ended. Without the run: no more will
        come, as for `until_ended`. `tokens`: False: the run alone.

        Reads nothing of the events between, which `follow` does.
        """
        async with AsyncExitStack() as stack:
            if tokens:
                await stack.enter_async_context(self._tokens(listener))
                following = asyncio.create_task(self._keep_following(listener, tokens=True))
                stack.callback(following.cancel)
            listener.followed = True
            while not listener.gone:
                await listener.wait()
                for token in listener.take():
                    yield token
                if listener.must_read:
                    # Before the query: what happens while it runs has to be looked at again.
                    listener.must_read = False
                    if (run := await self._ended(listener.run_id)) is not None:
                        yield run
                        return
                    await asyncio.sleep(_FALSE_ALARM_S)

    async def _ended(self, run_id: UUID) -> Run | None:
        try:
            return await self._runs.get_ended(run_id)
        except Unavailable:
            await asyncio.sleep(self._poll_s)
            return None

    async def _read(self, listener: RunListener) -> Sequence[Entry]:
        # Before the query: what happens while it runs has to be read again.
        listener.must_read = False
        try:
            entries, more = await self._history.page(listener.run_id, after=listener.last_seq, most=_PAGE)
        except Unavailable:
            await asyncio.sleep(self._poll_s)
            listener.read_again()
            return ()
        if entries:
            listener.last_seq = entries[-1].seq
            listener.must_read |= more
        else:
            await asyncio.sleep(_FALSE_ALARM_S)
        return entries

    async def _receive(self, message: RunEvents) -> None:
        for listener in self._listeners.get(message.run_id, ()):
            if not listener.only_end or message.has_moved:
                listener.add_news(message.last_seq)

    def _events(self, listener: RunListener) -> AbstractAsyncContextManager[None]:
        async def receive(message: RunEvents) -> None:
            listener.add_news(message.last_seq)

        subject = subjects.run_events(listener.run_id)
        return self._bus.subscribe(subject, RunEvents, receive, missed=listener.read_again)

    @asynccontextmanager
    async def _tokens(self, listener: RunListener) -> AsyncIterator[None]:
        async def receive(message: RunTokens) -> None:
            listener.add_token(message)

        async with self._bus.subscribe(subjects.run_tokens(listener.run_id), RunTokens, receive):
            listener.must_stream_again = True
            yield

    async def _keep_following(self, listener: RunListener, *, tokens: bool) -> None:
        """Lets executors know that the run is followed."""
        while True:
            from_start = listener.must_stream_again
            self._bus.publish(RunFollowed(run_id=listener.run_id, tokens=tokens, from_start=from_start))
            listener.must_stream_again = False
            for _ in range(_POLLS_PER_SIGN):
                await asyncio.sleep(self._poll_s)
                if listener.must_stream_again:
                    break

    def _read_all_again(self) -> None:
        for listener in self._all():
            listener.read_again()

    def _all(self) -> list[RunListener]:
        return [listener for listeners in self._listeners.values() for listener in listeners]

    async def _stop_at(self, ending: asyncio.Event) -> None:
        await ending.wait()
        self._is_over = True
        for listener in self._all():
            listener.compare(None)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            followed = [listener for listener in self._all() if listener.followed]
            if not followed:
                continue
            try:
                newest = await self._history.newest({listener.run_id for listener in followed})
            except Unavailable as error:
                log.warning("can't read the runs' newest event numbers", extra={"reason": error.message})
                continue
            for listener in followed:
                run = newest.get(listener.run_id)
                if run is None or run.has_ended or not listener.only_end:
                    listener.compare(run.seq if run is not None else None)


def _ends(entry: Entry) -> bool:
    return entry.type in ENDINGS
