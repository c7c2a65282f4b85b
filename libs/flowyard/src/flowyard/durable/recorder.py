"""The recorder of a claimed run: every result is durable before the next step begins, and a run can be handed back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from flowyard.durable.journal import Journal
from flowyard.runs.events import Event, Failure, ModelReserved, StepFailed, StepFinished, StepId
from flowyard.runs.run import Fork, Spending, Step


@dataclass(frozen=True, slots=True)
class StepWait:
    """A step that waits between two tries. `error`: why the last try failed."""

    step: StepId
    seconds: float
    error: Failure


class HandBack(Exception):
    """The run stops here, and continues in another claim: after `wait`, or at once if the executor drains."""

    def __init__(self, wait: StepWait | None = None) -> None:
        super().__init__()
        self.wait = wait


class DurableRecorder:
    """`recorded`: the run's stored steps; `spent`: what the calls of its steps used under earlier claims.

    `waits_for_commits`: False lets a step begin before earlier results are durable. `long_wait_s`: a longer wait
    between tries hands the run back.
    """

    def __init__(  # each is a fact about one claim
        self,
        journal: Journal,
        *,
        recorded: Mapping[StepId, Step],
        spent: Mapping[StepId, Spending],
        draining: asyncio.Event,
        waits_for_commits: bool,
        long_wait_s: float,
    ) -> None:
        self.recorded = recorded
        self._spent = spent
        self._journal = journal
        self._draining = draining
        self._waits = waits_for_commits
        self._long_wait_s = long_wait_s
        self._at_work: set[StepId] = set()
        self._has_failed = False
        self._changed = asyncio.Event()

    @property
    def fork(self) -> Fork | None:
        return self._journal.claim.fork

    def spent_before(self, step: StepId) -> Spending:
        return self._spent.get(step, Spending())

    def emit(self, event: Event) -> None:
        self._journal.append(event)

    async def reserve(self, event: ModelReserved) -> None:
        await self._journal.append_durably(event)

    def settle(self, task_id: str, event: StepFinished | StepFailed) -> None:
        if isinstance(event, StepFailed) and event.handled == "fail":
            self._has_failed = True
        self._journal.hold_end(task_id, event)

    async def begin(self, step: StepId) -> float:
        """Raises HandBack if the executor drains, once no step of the run is at work.

        If a step has failed the run, that is what ends it: the other steps wait here to be cancelled.
        """
        started = perf_counter()
        if self._waits:
            await self._journal.results_durable()
        waited = perf_counter() - started
        while self._draining.is_set():
            if not self._at_work and not self._has_failed:
                raise HandBack
            await self._changed.wait()
        self._at_work.add(step)
        earlier = self.recorded.get(step)
        if earlier is not None:
            self._journal.set_tries(step, earlier.tries)
        return waited

    def end(self, step: StepId) -> None:
        self._at_work.discard(step)
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, step: StepId, seconds: float, error: Failure) -> None:
        """Raises HandBack if the wait is long and no other step of the run is at work."""
        if seconds >= self._long_wait_s and self._at_work == {step}:
            raise HandBack(StepWait(step, seconds, error))
        if seconds:
            await asyncio.sleep(seconds)
