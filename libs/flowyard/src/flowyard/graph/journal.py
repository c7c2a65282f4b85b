"""What one claimed run has to write, in order, and how it gets to Postgres and to whoever listens.

Events, steps, model calls and checkpoints gather in one part, and travel together. The result of a step travels with
LangGraph's own record of it, so that both are there or neither is. A step doesn't begin before the results of those
before it are on disk: `settled` waits for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from flowyard.errors import ClaimLost, CommitRefused
from flowyard.runs.claim import Claim
from flowyard.runs.entries import StoredEvent, failure_data, stored
from flowyard.runs.events import (
    Event,
    Failure,
    LoopTurned,
    ModelCalled,
    RetryScheduled,
    RouteTaken,
    RunFinished,
    RunQueued,
    RunWaiting,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
    Token,
)
from flowyard.runs.run import Spending
from flowyard.runs.summary import add_known
from flowyard.storage.commits import Committer, RunCommit
from flowyard.storage.database import dumps
from flowyard.storage.packing import packed
from flowyard.storage.rows import CallRow, StepRow

RESULT_DELAY: Final = 0.002
"""Seconds that a step's result may wait for company: its superstep's checkpoint usually follows at once."""
EVENT_DELAY: Final = 0.05
"""Seconds that an event without a result may wait."""

Announce = Callable[[Sequence[StoredEvent]], None]


class Journal:
    """The only writer of one run, as long as its claim holds.

    `now`: the database's time. `announce` is called with events that are on disk; `stream` with each token, at once.
    `on_lost` is called once, when a commit finds that the claim isn't held any more; `on_cancel` when one finds that
    somebody wants the run cancelled.
    """

    def __init__(  # the world of one run
        self,
        claim: Claim,
        committer: Committer,
        *,
        now: Callable[[], datetime],
        announce: Announce,
        stream: Callable[[Token], None],
        on_lost: Callable[[], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self.claim = claim
        self.large: dict[str, tuple[Any, str]] = {}
        self._committer = committer
        self._now = now
        self._announce = announce
        self._stream = stream
        self._on_lost = on_lost
        self._on_cancel = on_cancel
        self.keep = True
        """False for `durability: exit`: nothing is written before the run's end, but what `tell` has to say."""
        self._seq = self._results_seq = self._durable_seq = claim.last_seq
        self._committed = asyncio.Event()
        self._events: list[StoredEvent] = []
        self._part = self._new_part()
        self._held: dict[str, list[Event]] = {}
        self._started: dict[StepId, datetime] = {}
        self._tries: dict[StepId, int] = {}
        self._spent: dict[StepId, Spending] = {}
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: Exception | None = None

    def emit(self, event: Event) -> None:
        """Takes anything but the end of a step and of the run."""
        if isinstance(event, Token):
            self._stream(event)
            return
        if isinstance(event, (RouteTaken, LoopTurned)) and self._hold(event):
            return
        if isinstance(event, StepStarted):
            self._started[event.step] = self._now()
        elif isinstance(event, RetryScheduled):
            self._tries[event.step] = event.attempt
        self._add(event)
        self._write_within(EVENT_DELAY)

    async def tell(self, event: Event) -> None:
        """As `emit`, but returns when it is on disk, whatever the durability. Raises ClaimLost, CommitRefused."""
        self._add(event)
        await self._on_disk(self._seq)

    def tried(self, step: StepId, tries: int) -> None:
        """How often a step was tried under earlier claims, and once more now."""
        self._tries[step] = tries

    def called_before(self, calls: Iterable[CallRow]) -> None:
        """The calls that were made under earlier claims: what a step came to includes them."""
        for call in calls:
            self._count(call)

    def settle(self, task_id: str, event: StepFinished | StepFailed) -> None:
        """The end of a step: it is written when LangGraph hands over the writes of its task."""
        self._held.setdefault(task_id, []).append(event)

    def _hold(self, event: RouteTaken | LoopTurned) -> bool:
        """Where a step leads comes after its end: whether that is still to be written."""
        for events in self._held.values():
            ended = events[0]
            if isinstance(ended, (StepFinished, StepFailed)) and ended.step.node == event.node:
                events.append(event)
                return True
        return False

    def resume(self, large: dict[str, tuple[Any, str]]) -> None:
        """`large`: the large values that the run's head refers to, as in `save`."""
        self.large = large

    def save(self, row: tuple[Any, ...], values: Sequence[tuple[str, str]], large: dict[str, tuple[Any, str]]) -> None:
        """A checkpoint: it stands for every step that has ended, and replaces the one before."""
        for task_id in list(self._held):
            self._release(task_id)
        part = self._part
        kept = {digest for _, digest in large.values()}
        gone = {digest for _, digest in self.large.values()} | {digest for (digest,) in part.replaces}
        self.large = large
        part.head, part.checkpoints, part.writes = row[1], [row], []
        part.values = [value for value in (*part.values, *values) if value[0] in kept]
        # A value that came back within this part must not go: one statement can't delete and keep it.
        part.replaces = [(digest,) for digest in gone - kept]
        self._write_within(RESULT_DELAY)

    def save_writes(self, task_id: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """What a task of LangGraph's wrote, while others of its superstep are still at work."""
        self._release(task_id)
        self._part.writes += rows
        self._write_within(RESULT_DELAY)

    async def settled(self) -> None:
        """Returns when the results of all steps that have ended are on disk. Raises ClaimLost, CommitRefused."""
        await self._on_disk(self._results_seq if self.keep else self._durable_seq)

    async def _on_disk(self, seq: int) -> None:
        while self._durable_seq < seq and self._failed is None:
            self._write_now()
            await self._committed.wait()
        if self._failed is not None:
            raise self._failed

    async def finish(self, event: RunFinished) -> RunFinished:
        """Ends the run, with all that is left to write; the end that was written. Raises ClaimLost."""
        try:
            await self._rest()
            await self._end(event)
        except CommitRefused as refused:
            # What can't be stored isn't stored; that the run has ended must be.
            self._forget_the_rest()
            event = RunFinished("failed", event.duration_s, {}, Failure(refused.code, str(refused)))
            await self._end(event)
        return event

    async def close(self, event: RunQueued | RunWaiting) -> tuple[str, int]:
        """Writes what there is, and numbers the event with which the run is given back: its JSON, and its number.

        Raises ClaimLost, CommitRefused.
        """
        await self._rest()
        # With `durability: exit`, too: what has ended needn't be done again, and what was paid for is told.
        if self._events or self._part.steps or self._part.head:
            await self._commit()
        self._number(event)
        text = self._events_json()
        return text, self._seq

    def given_back(self) -> None:
        """The event that `close` was given is on disk."""
        self._announce(self._events)

    def waiting_step(self, step: StepId, failure: Failure | None) -> None:
        """A step that gives up its slot until its next try: how often it was tried must outlast this claim."""
        started = self._started.get(step) or self._now()
        self._part.add_step(
            StepRow(
                step=step,
                status="waiting",
                seq=self._seq,
                tries=self._tries.get(step, 1),
                started_at=started,
                duration_s=0.0,
                error=failure,
            )
        )

    def _count(self, call: ModelCalled | CallRow) -> None:
        spent = self._spent.get(call.step, Spending())
        self._spent[call.step] = Spending(
            spent.calls + 1,
            add_known(spent.tokens_in, call.tokens_in),
            add_known(spent.tokens_out, call.tokens_out),
            add_known(spent.cost_usd, call.cost_usd),
        )

    def _add(self, event: Event) -> None:
        if isinstance(event, StepFinished | StepFailed):
            event = _summed(event, self._spent.pop(event.step, None))
        seq = self._number(event)
        match event:
            case ModelCalled():
                self._count(event)
                self._part.add_call(CallRow.of(event, seq=seq, at=self._now()))
            case StepFinished() | StepFailed():
                self._part.add_step(self._step_row(seq, event))
            case _:
                pass

    def _number(self, event: Event) -> int:
        self._seq += 1
        self._events.append(stored(self._seq, self._now(), event))
        return self._seq

    def _step_row(self, seq: int, event: StepFinished | StepFailed) -> StepRow:
        started = self._started.pop(event.step, None)
        row = StepRow(
            step=event.step,
            status="succeeded",
            seq=seq,
            tries=self._tries.pop(event.step, 1),
            started_at=started or self._now() - timedelta(seconds=event.duration_s),
            duration_s=event.duration_s,
        )
        if isinstance(event, StepFailed):
            return replace(row, status="failed", handled=event.handled, error=event.error)
        return replace(row, outputs=event.outputs)

    def _release(self, task_id: str) -> None:
        for event in self._held.pop(task_id, ()):
            self._add(event)
            self._results_seq = self._seq

    # ---- writing

    @property
    def _is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def _new_part(self) -> RunCommit:
        return RunCommit(self.claim.run_id, self.claim.epoch, self._seq)

    def _write_within(self, seconds: float) -> None:
        if not self.keep or self._is_writing or self._failed is not None:
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._write_now)

    def _write_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_writing and self._failed is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Commits until nothing is left. Never raises: `_failed` tells."""
        while (self._events or self._part.head or self._part.writes) and self._failed is None:
            try:
                await self._commit()
            except (ClaimLost, CommitRefused) as error:
                self._failed = error
                self._committed.set()
                if isinstance(error, ClaimLost):
                    self._on_lost()

    async def _commit(self) -> None:
        part, events = self._part, self._events
        part.entries = self._events_json() if events else None
        part.last_seq = self._seq
        self._part, self._events = self._new_part(), []
        told = await self._committer.commit(part)
        self._durable_seq = part.last_seq
        self._committed.set()
        self._committed = asyncio.Event()
        if events:
            self._announce(events)
        if told.cancel_requested:
            self._on_cancel()

    def _events_json(self) -> str:
        return packed([event.entry for event in self._events])

    async def _rest(self) -> None:
        """Waits for what is being written, so that nothing else of this run is on its way. What has ended is told."""
        for task_id in list(self._held):
            self._release(task_id)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._is_writing and self._writing is not None:
            await asyncio.shield(self._writing)
        if self._failed is not None:
            raise self._failed

    def _forget_the_rest(self) -> None:
        """Numbers begin again after the last event that is on disk: there must be no gap."""
        self._held.clear()
        self._events = []
        self._seq = self._durable_seq
        self._part = self._new_part()

    async def _end(self, event: RunFinished) -> None:
        self._add(event)
        part = self._part
        part.status, part.outputs = event.status, dumps(dict(event.outputs))
        part.error = dumps(failure_data(event.error)) if event.error is not None else None
        await self._commit()


def _summed(event: StepFinished | StepFailed, spent: Spending | None) -> StepFinished | StepFailed:
    """With what all calls of the step came to, whoever made them."""
    if spent is None or isinstance(event, StepFailed):
        return event
    return replace(
        event,
        calls=spent.calls,
        tokens_in=spent.tokens_in,
        tokens_out=spent.tokens_out,
        cost_usd=spent.cost_usd,
    )
