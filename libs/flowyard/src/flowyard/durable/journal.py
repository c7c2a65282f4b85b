"""The order of one run's events, and their rows in the database.

The end of a step is held until LangGraph hands over what the step's task wrote, so that both are written together or
neither is. A step doesn't begin before the results of earlier steps are durable: `results_durable` waits for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from flowyard.durable.writer import RunWriter
from flowyard.errors.runs import CommitRefused
from flowyard.runs.claim import Claim
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
from flowyard.storage.rows import CallRow, StepRow

RESULT_DELAY: Final = 0.002
"""Seconds that a step's result waits for others: the checkpoint of its superstep usually follows at once."""
EVENT_DELAY: Final = 0.05
"""Seconds that an event without a result may wait."""


class Journal:
    """`on_token` is called with each token at once: tokens aren't stored."""

    def __init__(self, claim: Claim, writer: RunWriter, *, on_token: Callable[[Token], None]) -> None:
        self.claim = claim
        self.writer = writer
        self.large: dict[str, tuple[Any, str]] = {}
        self._on_token = on_token
        self._results_seq = claim.last_seq
        self._held: dict[str, list[Event]] = {}
        self._started: dict[StepId, datetime] = {}
        self._tries: dict[StepId, int] = {}

    def append(self, event: Event) -> None:
        """Takes anything but the end of a step and of the run."""
        if isinstance(event, Token):
            self._on_token(event)
            return
        if isinstance(event, (RouteTaken, LoopTurned)) and self._hold_behind_end(event):
            return
        if isinstance(event, StepStarted):
            self._started[event.step] = self.writer.now()
        elif isinstance(event, RetryScheduled):
            self._tries[event.step] = event.attempt
        self._add(event)
        self.writer.commit_within(EVENT_DELAY)

    async def append_durably(self, event: Event) -> None:
        """Returns when the event is durable, whatever the run's durability. Raises ClaimLost, CommitRefused."""
        self._add(event)
        await self.writer.until_durable(self.writer.seq)

    def hold_end(self, task_id: str, event: StepFinished | StepFailed) -> None:
        """The end of a step, held until LangGraph hands over what its task wrote."""
        self._held.setdefault(task_id, []).append(event)

    def _hold_behind_end(self, event: RouteTaken | LoopTurned) -> bool:
        """Queues a route behind its step's unwritten end; True if it was queued."""
        for events in self._held.values():
            end = events[0]
            if isinstance(end, (StepFinished, StepFailed)) and end.step.node == event.node:
                events.append(event)
                return True
        return False

    def set_tries(self, step: StepId, tries: int) -> None:
        """How often a step was tried under earlier claims, the try that now begins included."""
        self._tries[step] = tries

    def add_waiting(self, step: StepId, failure: Failure) -> None:
        """A step that waits for its next try in another claim: the number of its tries must outlast this one."""
        self.writer.pending.add_step(
            StepRow(
                step=step,
                status="waiting",
                seq=self.writer.seq,
                tries=self._tries.get(step, 1),
                started_at=self._started.get(step) or self.writer.now(),
                duration_s=0.0,
                error=failure,
            )
        )

    async def results_durable(self) -> None:
        """Returns when the results of all steps that have ended are durable. Raises ClaimLost, CommitRefused."""
        await self.writer.until_durable(self._results_seq if self.writer.commits_early else self.writer.durable_seq)

    async def finish(self, event: RunFinished) -> RunFinished:
        """Ends the run. Returns the end that was written. Raises ClaimLost."""
        try:
            await self._stop()
            await self.writer.commit_end(event)
        except CommitRefused as refused:
            # What can't be stored is dropped, but the end of the run must be stored.
            self._held.clear()
            self.writer.discard()
            event = RunFinished("failed", event.duration_s, {}, Failure(refused.code, str(refused)))
            await self.writer.commit_end(event)
        return event

    async def close(self, event: RunQueued | RunWaiting) -> tuple[str, int]:
        """Flushes, then returns the hand-back entry (JSON, seq), not yet written. Raises ClaimLost, CommitRefused."""
        await self._stop()
        # With `durability: exit`, too: ended steps needn't be executed again, and paid calls are in the ledger.
        await self.writer.commit_rest()
        return self.writer.last_words(event)

    async def _stop(self) -> None:
        for task_id in list(self._held):
            self._release(task_id)
        await self.writer.stop()

    def _release(self, task_id: str) -> None:
        for event in self._held.pop(task_id, ()):
            self._add(event)
            self._results_seq = self.writer.seq

    def _add(self, event: Event) -> None:
        seq = self.writer.append(event)
        match event:
            case ModelCalled():
                self.writer.pending.add_call(CallRow.of(event, seq=seq, at=self.writer.now()))
            case StepFinished() | StepFailed():
                self.writer.pending.add_step(self._step_row(seq, event))
            case _:
                pass

    def _step_row(self, seq: int, event: StepFinished | StepFailed) -> StepRow:
        started = self._started.pop(event.step, None)
        row = StepRow(
            step=event.step,
            status="succeeded",
            seq=seq,
            tries=self._tries.pop(event.step, 1),
            started_at=started or self.writer.now() - timedelta(seconds=event.duration_s),
            duration_s=event.duration_s,
        )
        if isinstance(event, StepFailed):
            return replace(row, status="failed", handled=event.handled, error=event.error)
        return replace(row, outputs=event.outputs)

    # ---- checkpoints

    def resume(self, large: dict[str, tuple[Any, str]]) -> None:
        """`large`: the large values that the run's head refers to, as in `save`."""
        self.large = large

    def save(self, row: tuple[Any, ...], values: Sequence[tuple[str, str]], large: dict[str, tuple[Any, str]]) -> None:
        """Adds a checkpoint. It contains every step that has ended, and replaces the checkpoint before."""
        for task_id in list(self._held):
            self._release(task_id)
        commit = self.writer.pending
        kept = {digest for _, digest in large.values()}
        gone = {digest for _, digest in self.large.values()} | {digest for (digest,) in commit.replaces}
        self.large = large
        commit.head, commit.checkpoints, commit.writes = row[1], [row], []
        commit.values = [value for value in (*commit.values, *values) if value[0] in kept]
        # A value that came back within this commit must not go: one statement can't delete and keep it.
        commit.replaces = [(digest,) for digest in gone - kept]
        self.writer.commit_within(RESULT_DELAY)

    def save_writes(self, task_id: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """What a task of LangGraph's wrote, while others of its superstep are still at work."""
        self._release(task_id)
        self.writer.pending.writes += rows
        self.writer.commit_within(RESULT_DELAY)
