"""The recorder of a claimed run: every result is durable before the next step begins, and a run can be handed back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from flowyard.durable.journal import Journal
from flowyard.runs.events import Event, Failure, ModelReserved, StepFailed, StepFinished, StepId, ToolCalled
from flowyard.runs.run import CallStart, Fork, Part, Step, StepCalls
from flowyard.steps.recorder import Begun, Choice, Next

_SETTLING_S: Final = 0.02
"""Seconds for which all steps of a run wait before the run is handed back.

Less than EVENT_DELAY, so that the hand-back is in one commit with the events before the wait.
"""


@dataclass(frozen=True, slots=True)
class StepWait:
    """A step that waits between two tries. `until`: by the monotonic clock; `error`: why the last try failed."""

    step: StepId
    until: float
    error: Failure | None

    @property
    def seconds(self) -> float:
        return max(0.0, self.until - time.monotonic())


class HandBack(Exception):
    """The run stops here, and continues in another claim. `waits`: its steps that wait, in the order of their ends.

    `at_once`: other steps of the run can continue, so that it is queued without a wait.
    """

    def __init__(self, *waits: StepWait, at_once: bool) -> None:
        super().__init__()
        self.waits = waits
        self.at_once = at_once


class DurableRecorder:
    """`open_steps`: steps and maps that have begun and not ended; `calls`: their model calls under earlier claims.
    `read_parts`: reads what is recorded of a step's calls.

    `waits_for_commits`: False lets a step begin before earlier results are durable. `long_wait_s`: if all open steps
    wait longer than this for their next tries, the run is handed back.
    """

    def __init__(  # each is a fact about one claim
        self,
        journal: Journal,
        *,
        open_steps: Mapping[StepId, Step],
        calls: Mapping[StepId, StepCalls],
        read_parts: Callable[[StepId], Awaitable[Sequence[Part]]],
        draining: Sequence[asyncio.Event],
        may_replay: Callable[[], bool],
        waits_for_commits: bool,
        long_wait_s: float,
    ) -> None:
        self.open_steps = open_steps
        self._calls = calls
        self._read_parts = read_parts
        self._journal = journal
        self._draining = draining
        self._may_replay = may_replay
        self._waits_for_commits = waits_for_commits
        self._long_wait_s = long_wait_s
        self._at_work: set[StepId] = set()
        self._about_to_begin: set[StepId] = set()
        self._waits: dict[StepId, StepWait] = {}
        self._maps: dict[StepId, dict[str, Any]] = {}
        self._changed = asyncio.Event()

    @property
    def _is_draining(self) -> bool:
        return any(event.is_set() for event in self._draining)

    @property
    def fork(self) -> Fork | None:
        return self._journal.claim.fork

    def go_on(self) -> None:
        """Raises HandBack if the executor drains, or may not replay. To be called during a replay: no step runs."""
        if self._is_draining or not self._may_replay():
            raise HandBack(at_once=True)

    def calls_before(self, step: StepId) -> StepCalls:
        return self._calls.get(step, StepCalls())

    def emit(self, event: Event) -> None:
        self._journal.append(event)

    async def begin_call(self, call: CallStart, reserved: ModelReserved | None) -> None:
        await self._journal.begin_call(call, reserved)

    def now(self) -> datetime:
        return self._journal.writer.now()

    async def parts_before(self, step: StepId) -> Sequence[Part]:
        """Of steps that have begun under an earlier claim; others have none."""
        return await self._read_parts(step) if step in self.open_steps else ()

    async def replies_durable(self) -> None:
        await self._journal.writer.until_durable(self._journal.writer.seq)

    async def begin_tool(self, call: ToolCalled) -> None:
        await self._journal.begin_tool(call)

    def settle(self, end: StepFinished | StepFailed, next_: Next | None = None, choice: Choice | None = None) -> None:
        self._journal.settle(end, next_, choice)
        if end.step.item is not None:
            self._count_item(end)

    def decide(self, place: StepId, next_: Next, choice: Choice | None) -> None:
        self._journal.decide(place, next_, choice)

    def start_map(self, step: StepId, progress: dict[str, Any]) -> None:
        self._maps[step] = progress
        self._journal.begin_map(step, self.open_steps.get(step), progress)

    def settle_map(self, step: StepId, next_: Next, choice: Choice | None) -> None:
        self._journal.end_map(step, next_, choice)

    def end_run(self) -> None:
        self._journal.writer.commit_only_at_end()

    async def begin(self, step: StepId, timeout_s: float | None) -> Begun:
        """Records that a step begins. Raises HandBack if the executor drains, once no step of the run is running."""
        started, earlier = time.perf_counter(), self.open_steps.get(step)
        self._about_to_begin.add(step)
        if self._waits_for_commits:
            await self._journal.results_durable()
        commit_s = time.perf_counter() - started
        if earlier is not None and earlier.wake_at is not None:
            # Another step of the run has woken it earlier.
            left_s = (earlier.wake_at - self._journal.writer.now()).total_seconds()
            if left_s > 0:
                self._journal.wait_on(earlier)
                await self.wait(step, left_s, earlier.error)
        await self._start(step)
        deadline_s = self._journal.begin_step(step, earlier, timeout_s)
        return Begun(commit_s, deadline_s, self._journal.started_at(step))

    def pause_deadline(self, step: StepId, left_s: float) -> None:
        self._journal.pause_deadline(step, left_s)

    def resume_deadline(self, step: StepId, left_s: float) -> None:
        self._journal.resume_deadline(step, left_s)

    async def step_aside(self, step: StepId) -> None:
        self._about_to_begin.add(step)
        self.end(step)
        await self._start(step)

    async def _start(self, step: StepId) -> None:
        while self._is_draining:
            if not self._at_work:
                raise self._hand_back()
            await self._changed.wait()
        self._about_to_begin.discard(step)
        self._at_work.add(step)

    def end(self, step: StepId) -> None:
        self._at_work.discard(step)
        self._wake_others()

    async def wait(self, step: StepId, seconds: float, error: Failure | None) -> None:
        """Waits before a step's next try. Raises HandBack if all open steps wait long, or if the executor drains."""
        if seconds <= 0:
            return
        was_at_work = step in self._at_work
        self._waits[step] = wait = StepWait(step, time.monotonic() + seconds, error)
        self.end(step)
        try:
            while wait.seconds > 0:
                # Nothing may be at work for a moment, between two steps of another branch.
                if await _first_of([self._changed], min(_SETTLING_S, wait.seconds)):
                    continue
                if self._may_hand_back():
                    raise self._hand_back()
                await _first_of([self._changed, *self._not_draining()], wait.seconds)
        finally:
            del self._waits[step]
            if was_at_work:
                self._at_work.add(step)

    def _may_hand_back(self) -> bool:
        if self._at_work:
            return False
        if self._is_draining:
            return True
        return not self._is_ready() and min(wait.seconds for wait in self._waits.values()) >= self._long_wait_s

    def _is_ready(self) -> bool:
        """Whether a step that doesn't wait for its next try is about to begin."""
        return not self._about_to_begin <= self._waits.keys()

    def _hand_back(self) -> HandBack:
        waits = sorted(self._waits.values(), key=lambda wait: wait.until)
        return HandBack(*waits, at_once=self._is_ready() or not waits)

    def _wake_others(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _not_draining(self) -> list[asyncio.Event]:
        return [] if self._is_draining else list(self._draining)

    def _count_item(self, end: StepFinished | StepFailed) -> None:
        step = StepId(end.step.node, end.step.visit)
        self._maps[step]["failed" if isinstance(end, StepFailed) else "done"] += 1
        self._journal.map_progress(step, self._maps[step])


async def _first_of(events: Sequence[asyncio.Event], seconds: float) -> bool:
    """Whether one of the events is set within so many seconds."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    return bool(done)
