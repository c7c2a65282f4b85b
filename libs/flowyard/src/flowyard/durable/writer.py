"""Writes one run's events and rows to Postgres: gathers them, numbers the events, and commits them in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from flowyard.errors.runs import ClaimLost, CommitRefused
from flowyard.runs.budget import Amount
from flowyard.runs.claim import Claim
from flowyard.runs.entries import StoredEvent, failure_data, stored
from flowyard.runs.events import Event, RunFinished, RunQueued, RunWaiting, StepId
from flowyard.runs.large_values import MAX_OUTPUTS, without_large
from flowyard.storage.commits import Committer, RunCommit
from flowyard.storage.database import dumps
from flowyard.storage.lost_calls import UnwrittenCall
from flowyard.storage.packing import packed
from flowyard.storage.repeats import without_repeats

_OUTPUTS_PER_COMMIT: Final = 512 * 1024
"""Bytes of the outputs in the events of one commit, which are one row and one message: NATS takes up to 1 MB."""


class RunWriter:
    """The only writer of one run while its claim is valid. Commits `pending` together with the gathered events.

    `now`: the database's time. `on_committed` is called with events once they are durable; `on_lost` once, when a
    commit finds that the claim isn't held any more; `on_cancel` when a commit finds that the run is to be cancelled.
    """

    def __init__(  # what a claim needs to write, and the three things that a commit can find
        self,
        claim: Claim,
        committer: Committer,
        *,
        now: Callable[[], datetime],
        on_committed: Callable[[Sequence[StoredEvent]], None],
        on_lost: Callable[[], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self.now = now
        self.commits_early = True
        self.step_deadline: Callable[[], datetime | None] = lambda: None
        """The earliest deadline of what is at work when a commit begins."""
        self.spent: Callable[[], Amount] | None = None
        """Of the run's budget, by all calls that have ended."""
        self.seq = self.durable_seq = claim.last_seq
        self.unwritten: dict[tuple[StepId, int], UnwrittenCall] = {}
        """The calls that were made and of which nothing is on disk yet, by step and part."""
        self.is_lost = False
        """Whether a commit has found that the claim isn't held any more."""
        self._held_until = claim.requested_at + committer.lease_s
        self._claim = claim
        self._committer = committer
        self._on_committed = on_committed
        self._on_lost = on_lost
        self._on_cancel = on_cancel
        self._events: list[StoredEvent] = []
        self._room = _OUTPUTS_PER_COMMIT
        self.pending = self._new_commit()
        self._committed = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: Exception | None = None

    def commit_only_at_end(self) -> None:
        """From now on, events and rows are written with the run's end, except those that must be durable earlier."""
        self.commits_early = False
        self._stop_timer()

    def append(self, event: Event) -> int:
        """Numbers an event. It is written with the next commit, without large outputs: the row of its step has them."""
        self.seq += 1
        whole = stored(self.seq, self.now(), event)
        entry, outputs_bytes = without_large(whole.entry, room=min(self._room, MAX_OUTPUTS))
        self._room -= outputs_bytes
        self._events.append(StoredEvent(entry, event))
        return self.seq

    def commit_within(self, seconds: float) -> None:
        if not self.commits_early or self._is_writing or self._failed is not None:
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._start_writing)

    async def until_durable(self, seq: int) -> None:
        """Returns when the event of this number is durable. Raises ClaimLost, CommitRefused."""
        while self.durable_seq < seq and self._failed is None:
            self._start_writing()
            await self._committed.wait()
        if self._failed is not None:
            raise self._failed

    @property
    def is_surely_held(self) -> bool:
        """Whether nobody else can have the run: its lease is valid, counted from when its renewal was requested."""
        return time.monotonic() < self._held_until

    def renewed(self, requested_at: float) -> None:
        """The claim was renewed by a statement that was sent at this time, by the monotonic clock."""
        self._held_until = requested_at + self._committer.lease_s

    async def flush(self) -> None:
        """Commits everything that is gathered; returns when it is durable. Raises ClaimLost, CommitRefused."""
        self._start_writing()
        await self.stop()

    async def stop(self) -> None:
        """Waits for the commit that is under way; afterwards none starts by itself. Raises ClaimLost, CommitRefused."""
        self._stop_timer()
        while self._is_writing and self._writing is not None:
            await asyncio.shield(self._writing)
        if self._failed is not None:
            raise self._failed

    async def commit_end(self, event: RunFinished) -> None:
        """After `stop`: ends the run, with everything that is gathered. Raises ClaimLost, CommitRefused."""
        self.append(event)
        commit = self.pending
        commit.status, commit.outputs = event.status, dumps(event.outputs)
        commit.error = dumps(failure_data(event.error)) if event.error is not None else None
        await self._commit()

    async def commit_hand_back(self, event: RunQueued | RunWaiting, snapshot: str | None) -> None:
        """After `stop`: ends the claim, with everything that is gathered. Raises ClaimLost, CommitRefused."""
        self.append(event)
        commit = self.pending
        commit.status, commit.snapshot = "queued", snapshot
        if isinstance(event, RunWaiting):
            commit.status, commit.wait_s = "waiting", event.seconds
        await self._commit()

    def discard(self) -> None:
        """Discards events that aren't durable. The next number follows the last durable event: there must be no gap."""
        self._events, self._room = [], _OUTPUTS_PER_COMMIT
        self.seq = self.durable_seq
        self.pending = self._new_commit()

    @property
    def _is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def _new_commit(self) -> RunCommit:
        return RunCommit(self._claim.run_id, self._claim.epoch, self.seq)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_writing(self) -> None:
        self._stop_timer()
        if not self._is_writing and self._failed is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Commits until nothing is left. Never raises: the error is in `_failed`."""
        while (self._events or self.pending.steps or self.pending.calls) and self._failed is None:
            try:
                await self._commit()
            except (ClaimLost, CommitRefused) as error:
                self._failed = error
                self._committed.set()
                if isinstance(error, ClaimLost):
                    self._on_lost()

    async def _commit(self) -> None:
        commit, events = self.pending, self._events
        commit.entries = self._packed() if events else None
        commit.last_seq, commit.step_deadline = self.seq, self.step_deadline()
        if self.spent is not None:
            spent = self.spent()
            commit.spent_usd, commit.spent_tokens, commit.spent_calls = spent.usd, spent.tokens, spent.model_calls
        self.pending, self._events, self._room = self._new_commit(), [], _OUTPUTS_PER_COMMIT
        sent_at = time.monotonic()
        try:
            result = await self._committer.commit(commit)
        except ClaimLost:
            self.is_lost = True
            raise
        self.renewed(sent_at)
        for call in commit.calls:
            self.unwritten.pop(call, None)
        self.durable_seq = commit.last_seq
        self._committed.set()
        self._committed = asyncio.Event()
        if events:
            self._on_committed(events)
        if result.cancel_requested:
            self._on_cancel()

    def _packed(self) -> str:
        entries = [event.entry for event in self._events]
        if self._claim.engine > 0:
            # Runs that began under the release before are read by its executors, too.
            entries = without_repeats(entries, calls=self.pending.calls.values(), steps=self.pending.steps.values())
        return packed(entries)
