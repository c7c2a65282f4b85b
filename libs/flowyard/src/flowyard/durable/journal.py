"""The order of one run's events, and the rows of its steps.

A step's end is recorded together with how the run continues after it. A step doesn't begin before the results of
earlier steps are durable: `results_durable` waits for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final, assert_never

from flowyard.durable.writer import RunWriter
from flowyard.errors.runs import ClaimLost, CommitRefused
from flowyard.runs import events
from flowyard.runs.claim import Claim
from flowyard.runs.events import Event, Failure, StepId, Token
from flowyard.runs.open_calls import lost_call
from flowyard.runs.run import CallStart, Step
from flowyard.steps.recorder import Choice, Next
from flowyard.storage.lost_calls import UnwrittenCall
from flowyard.storage.rows import CallRow

RESULT_DELAY: Final = 0.002
"""Seconds for which the commit of a result waits for other results, unless a next step waits for it."""
EVENT_DELAY: Final = 0.05
"""Most seconds for which an event without a result waits. A step that ends within this time is written once."""


class Journal:
    """`on_token` is called with each token at once: tokens aren't stored."""

    def __init__(self, claim: Claim, writer: RunWriter, *, on_token: Callable[[Token], None]) -> None:
        self.claim = claim
        self.writer = writer
        self.settled = 0
        """How many steps, maps and decisions have ended under this claim."""
        self._on_token = on_token
        self._results_seq = claim.last_seq
        self._open: dict[StepId, Step] = {}
        self._calls: dict[StepId, CallRow] = {}
        self._begun: dict[StepId, datetime] = {}
        """When each of them began under this claim."""
        writer.step_deadline = self._earliest_deadline

    def append(self, event: Event) -> None:
        """Appends any event except the end of a step or of the run."""
        if isinstance(event, Token):
            self._on_token(event)
            return
        seq = self.writer.append(event)
        match event:
            case events.ModelCalled():
                begun = self._calls.pop(event.step)
                ended = begun.ended(event, seq=seq, at=self.writer.now())
                self.writer.pending.add_call(ended)
                if (begun.step, begun.part) in self.writer.unwritten:
                    self.writer.unwritten[begun.step, begun.part] = UnwrittenCall(ended, begun.at)
            case events.ToolCalled():
                self.writer.pending.add_call(CallRow.of_tool(event, seq=seq, at=self.writer.now()))
                self.writer.commit_within(RESULT_DELAY)
            case events.StepStarted():
                self._write(self._open[event.step]._replace(seq=seq, start_seq=seq))
            case events.RetryScheduled():
                # On disk before the wait is over, so that nothing that happens to this executor makes it shorter.
                wake_at = self.writer.now() + timedelta(seconds=event.delay_s)
                self._write(self._open[event.step]._replace(seq=seq, tries=event.attempt, wake_at=wake_at))
            case _:
                pass
        self.writer.commit_within(EVENT_DELAY)

    async def begin_call(self, call: CallStart, reserved: events.ModelReserved | None) -> None:
        """To be called before a call. Returns when its reservation is durable, whatever the run's durability.

        If another executor may have the run by now, because this one was frozen or cut off, returns when the call's
        row is durable, so that no call is made for a lost run. Raises ClaimLost, CommitRefused.
        """
        seq = self.writer.append(reserved) if reserved is not None else self.writer.seq
        self._calls[call.step] = row = self._new_call(call, seq, reserved)
        self.writer.pending.add_call(row)
        if reserved is not None:
            await self.writer.until_durable(seq)
        elif self.writer.is_surely_held:
            self.writer.unwritten[call.step, call.part] = UnwrittenCall(row, row.at)
            self.writer.commit_within(EVENT_DELAY)
        else:
            await self.writer.flush()

    async def begin_tool(self, call: events.ToolCalled) -> None:
        """To be called before a call that may be made only once. Raises ClaimLost, CommitRefused."""
        row = CallRow.of_tool(call, seq=self.writer.seq, at=self.writer.now())
        self.writer.pending.add_call(row._replace(status="running", result=None))
        await self.writer.flush()

    async def unwritten_calls(self) -> list[UnwrittenCall]:
        """After the claim was lost: its calls without any row on disk."""
        with suppress(ClaimLost, CommitRefused):
            await self.writer.stop()
        return list(self.writer.unwritten.values())

    def lose_call(self, call: CallStart) -> None:
        """Records the end of a call of a lost executor. Only runs that an earlier release swept have such calls."""
        self._calls[call.step] = self._new_call(call, self.writer.seq, None)
        self.append(lost_call(call.step, call.provider, call.model))

    def begin_step(self, step: StepId, earlier: Step | None, timeout_s: float | None) -> float | None:
        """Records that a step starts. Returns the seconds until its deadline, which its first start has set."""
        now = self.writer.now()
        row = earlier or self._new_step(step, now)
        deadline, left_s = row.deadline, row.left_s if row.left_s is not None else timeout_s
        if deadline is None and left_s is not None:
            deadline = now + timedelta(seconds=left_s)
        begun = row._replace(status="running", deadline=deadline, left_s=None, wake_at=None, error=None, handled=None)
        self._open[step] = begun
        self._begun[step] = now
        return (deadline - now).total_seconds() if deadline is not None else None

    def started_at(self, step: StepId) -> datetime:
        """When a step that is open began for the first time."""
        return self._open[step].started_at

    def pause_deadline(self, step: StepId, left_s: float) -> None:
        """Stops the step's time limit, with `left_s` seconds left, so that no sweep ends the run because of it."""
        self._write(self._open[step]._replace(deadline=None, left_s=left_s))
        self.writer.commit_within(EVENT_DELAY)

    def resume_deadline(self, step: StepId, left_s: float) -> None:
        """Starts the step's time limit again: it ends in `left_s` seconds."""
        deadline = self.writer.now() + timedelta(seconds=left_s)
        self._write(self._open[step]._replace(deadline=deadline, left_s=None))
        self.writer.commit_within(EVENT_DELAY)

    def settle(self, end: events.StepFinished | events.StepFailed, next_: Next | None, choice: Choice | None) -> None:
        """Records the end of a step, and how the run continues. A step that fails the run is written with its end."""
        next_places = list(next_) if next_ is not None else None
        ended = partial(self._open.pop(end.step)._replace, wake_at=None, duration_s=end.duration_s, next=next_places)
        seq = self.writer.append(end)
        match end:
            case events.StepFinished():
                row = ended(seq=seq, status="succeeded", outputs=end.outputs)
            case events.StepFailed():
                row = ended(seq=seq, status="failed", handled=end.handled, error=end.error)
                if end.handled == "fail":
                    self.writer.commit_only_at_end()
            case _:
                assert_never(end)
        self.writer.pending.add_step(row)
        self._settled(choice)

    def decide(self, place: StepId, next_: Next, choice: Choice | None) -> None:
        """Records how the run continues from a place without work."""
        row = self._new_step(place)._replace(kind="decision", status="succeeded", duration_s=0.0, next=list(next_))
        self.writer.pending.add_step(row)
        self._settled(choice)

    def begin_map(self, step: StepId, earlier: Step | None, progress: Mapping[str, object]) -> None:
        """Records that a map begins or continues. `progress`: its items, and how many of them have ended."""
        self._begun[step] = self.writer.now()
        self._write((earlier or self._new_step(step))._replace(kind="map", status="running", outputs=progress))
        self.writer.commit_within(EVENT_DELAY)

    def map_progress(self, step: StepId, progress: Mapping[str, object]) -> None:
        self._write(self._open[step]._replace(outputs=progress))

    def end_map(self, step: StepId, next_: Next, choice: Choice | None) -> None:
        row = self._open.pop(step)
        duration_s = self._at_work_s(step)
        ended = row._replace(status="succeeded", seq=self.writer.seq, duration_s=duration_s, next=list(next_))
        self.writer.pending.add_step(ended)
        self._settled(choice)

    def wait(self, step: StepId, failure: Failure | None, seconds: float) -> None:
        """Records that a step waits for its next try, which another claim may make, with its tries and its deadline."""
        row = self._open.pop(step, None)
        # What waited before this claim, and still does, is recorded already.
        if row is not None:
            wake_at = self.writer.now() + timedelta(seconds=seconds)
            self.writer.pending.add_step(row._replace(status="waiting", wake_at=wake_at, error=failure))
        map_row = self._open.pop(StepId(step.node, step.visit), None) if step.item is not None else None
        if map_row is not None:
            self.writer.pending.add_step(map_row._replace(status="waiting"))

    def wait_on(self, row: Step) -> None:
        """Records that a step still waits for its next try, since an earlier claim ended during this wait."""
        if row.status != "waiting":
            self.writer.pending.add_step(row._replace(status="waiting"))
            self.writer.commit_within(EVENT_DELAY)

    async def results_durable(self) -> None:
        """Returns when the results of all steps that have ended are durable. Raises ClaimLost, CommitRefused."""
        await self.writer.until_durable(self._results_seq if self.writer.commits_early else self.writer.durable_seq)

    async def finish(self, event: events.RunFinished) -> events.RunFinished:
        """Ends the run. Returns what was written: a failure if `event` can't be stored. Raises ClaimLost."""
        try:
            await self.writer.stop()
            self._interrupt_open(wakes=False)
            await self.writer.commit_end(event)
        except CommitRefused as refused:
            # What can't be stored is dropped, but the end of the run must be stored.
            self.writer.discard()
            event = events.RunFinished("failed", event.duration_s, {}, Failure(refused.code, str(refused)))
            await self.writer.commit_end(event)
        return event

    async def hand_back(self, event: events.RunQueued | events.RunWaiting, snapshot: str | None) -> None:
        """Ends the claim, so that the run continues in another one. Raises ClaimLost, CommitRefused.

        `snapshot`: of the run, as JSON, in place of an earlier one.
        """
        await self.writer.stop()
        self._interrupt_open(wakes=True)
        # With `durability: exit`, too: ended steps needn't be executed again, and paid calls are in the ledger.
        await self.writer.commit_hand_back(event, snapshot)

    def _new_step(self, step: StepId, now: datetime | None = None) -> Step:
        at = now or self.writer.now()
        seq = self.writer.seq
        return Step(node=step.node, visit=step.visit, item=step.item, status="running", seq=seq, started_at=at)

    def _new_call(self, call: CallStart, seq: int, reserved: events.ModelReserved | None) -> CallRow:
        return CallRow(
            seq=seq,
            step=call.step,
            part=call.part,
            round=call.round,
            question=call.question,
            status="reserved" if reserved is not None else "running",
            provider=call.provider,
            model=call.model,
            at=self.writer.now(),
            reserved_tokens=reserved.tokens if reserved is not None else None,
            reserved_usd=reserved.usd if reserved is not None else None,
        )

    def _write(self, row: Step) -> None:
        self._open[row.id] = row
        self.writer.pending.add_step(row)

    def _settled(self, choice: Choice | None) -> None:
        if choice is not None:
            self.writer.append(choice)
        self.settled += 1
        self._results_seq = self.writer.seq
        self.writer.commit_within(RESULT_DELAY)

    def _interrupt_open(self, *, wakes: bool) -> None:
        """What is at work is cut off now. `wakes`: the run goes on, and steps wait for their next try as before."""
        for step, row in self._open.items():
            wake_at = row.wake_at if wakes else None
            cut = row._replace(status="interrupted", wake_at=wake_at, duration_s=self._at_work_s(step))
            self.writer.pending.add_step(cut)
        self._open.clear()

    def _at_work_s(self, step: StepId) -> float:
        return (self.writer.now() - self._begun[step]).total_seconds()

    def _earliest_deadline(self) -> datetime | None:
        return min((step.deadline for step in self._open.values() if step.deadline is not None), default=None)
