"""Follow runs as they go: what NATS tells, in order and without gaps, because Postgres fills them.

One subscription hears the events of all runs of the installation. A poll is behind it, one statement for all runs that
somebody follows. Tokens are subscribed to per run: there may be many, and few are wanted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final, TypeAlias
from uuid import UUID

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunEvents, RunTokens
from flowyard.control.ear import Ear
from flowyard.errors import Unavailable
from flowyard.runs.entries import ENDINGS
from flowyard.runs.run import Entry
from flowyard.storage.history import History

Heard: TypeAlias = Entry | RunTokens
_PAGE: Final = 100
"""Events that are read at a time."""

log = logging.getLogger(__name__)


class Live:
    """One per process. `running` has to be entered by who lets others follow runs."""

    def __init__(self, bus: Bus, history: History, *, poll_s: float = 1.0) -> None:
        self._bus = bus
        self._history = history
        self._poll_s = poll_s
        self._ears: dict[UUID, set[Ear]] = {}
        self._is_over = False

    @asynccontextmanager
    async def running(self, ending: asyncio.Event) -> AsyncIterator[None]:
        """When `ending` is set, whoever follows a run is told that there is no more."""
        hearing = self._bus.subscribe(subjects.ANY_RUN_EVENTS, RunEvents, self._hear, missed=self._wake_all)
        async with hearing, asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(work) for work in (self._poll(), self._stop_at(ending))]
            try:
                yield
            finally:
                for work in working:
                    work.cancel()

    @contextmanager
    def listen(self, run_id: UUID, *, after: int) -> Iterator[Ear]:
        """From now on, what happens to the run is kept for `follow`. `after`: the last event that is known already."""
        ear = Ear(run_id, after)
        ear.gone = self._is_over
        self._ears.setdefault(run_id, set()).add(ear)
        try:
            yield ear
        finally:
            others = self._ears[run_id]
            others.discard(ear)
            if not others:
                del self._ears[run_id]

    async def follow(self, ear: Ear, *, tokens: bool = False) -> AsyncGenerator[Heard, None]:
        """The run's events after `ear.last`, each once and in order, up to the one that ends it, or the process.

        Events that happened before `listen` are read only after `ear.wake()`. With `tokens`, pieces of replies come
        between them: those that come while the reader can take them, the others are lost.
        """
        async with AsyncExitStack() as stack:
            if tokens:
                await stack.enter_async_context(self._tokens(ear))
            ear.followed = True
            ended = False
            while not (ended and ear.is_quiet) and not ear.gone:
                await ear.something()
                for heard in ear.take():
                    yield heard
                    ended = _ends(heard) or (ended and isinstance(heard, RunTokens))
                if ear.must_read:
                    for entry in await self._read(ear):
                        yield entry
                        ended = _ends(entry)

    async def until_ended(self, ear: Ear) -> None:
        """Returns when the run has ended, or nobody will tell any more: it was deleted, or the process ends."""
        async for _ in self.follow(ear):
            pass

    async def _read(self, ear: Ear) -> Sequence[Entry]:
        # Before the query: what happens while it runs has to be read again.
        ear.must_read = False
        try:
            entries = await self._history.entries(ear.run_id, after=ear.last, most=_PAGE)
        except Unavailable:
            await asyncio.sleep(self._poll_s)
            ear.wake()
            return ()
        if entries:
            ear.last = entries[-1].seq
            ear.must_read |= len(entries) >= _PAGE
        return entries

    async def _hear(self, message: RunEvents) -> None:
        for ear in self._ears.get(message.run_id, ()):
            ear.hear(message.entries)

    @asynccontextmanager
    async def _tokens(self, ear: Ear) -> AsyncIterator[None]:
        async def hear(message: RunTokens) -> None:
            ear.hear_token(message)

        async with self._bus.subscribe(subjects.run_tokens(ear.run_id), RunTokens, hear):
            yield

    def _wake_all(self) -> None:
        for ear in self._all():
            ear.wake()

    def _all(self) -> list[Ear]:
        return [ear for ears in self._ears.values() for ear in ears]

    async def _stop_at(self, ending: asyncio.Event) -> None:
        await ending.wait()
        self._is_over = True
        for ear in self._all():
            ear.told_of(None)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            followed = [ear for ear in self._all() if ear.followed]
            if not followed:
                continue
            try:
                last_seqs = await self._history.last_seqs({ear.run_id for ear in followed})
            except Unavailable as error:
                log.warning("can't look how far runs are", extra={"reason": error.message})
                continue
            for ear in followed:
                ear.told_of(last_seqs.get(ear.run_id))


def _ends(heard: Heard) -> bool:
    return isinstance(heard, Entry) and heard.type in ENDINGS
