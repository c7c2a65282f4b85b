"""The recorder of a claimed run: every result is on disk before the next step begins, and a run can be given back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter

from flowyard.graph.journal import Journal
from flowyard.runs.events import Event, Failure, ModelReserved, StepFailed, StepFinished, StepId
from flowyard.runs.run import Fork, Step


class GiveBack(Exception):
    """The run stops here and goes on elsewhere. `seconds`: not before that; `step`: the one that waits."""

    def __init__(
        self, *, seconds: float | None = None, step: StepId | None = None, error: Failure | None = None
    ) -> None:
        super().__init__()
        self.seconds = seconds
        self.step = step
        self.error = error


class Durable:
    """`recorded`: what is stored of the run's steps. `long_wait_s`: a longer wait between tries gives the slot back."""

    def __init__(
        self,
        journal: Journal,
        recorded: Mapping[StepId, Step],
        draining: asyncio.Event,
        *,
        waits_for_commits: bool,
        long_wait_s: float,
    ) -> None:
        self.recorded = recorded
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

    def emit(self, event: Event) -> None:
        self._journal.emit(event)

    async def reserve(self, event: ModelReserved) -> None:
        await self._journal.tell(event)

    def settle(self, task_id: str, event: StepFinished | StepFailed) -> None:
        if isinstance(event, StepFailed) and event.handled == "fail":
            self._has_failed = True
        self._journal.settle(task_id, event)

    async def begin(self, step: StepId) -> float:
        """Raises GiveBack where the executor is going away, once no step of the run is at work.

        Where one of them has failed the run, that is what ends it: the others wait to be cancelled.
        """
        asked = perf_counter()
        if self._waits:
            await self._journal.settled()
        waited = perf_counter() - asked
        while self._draining.is_set():
            if not self._at_work and not self._has_failed:
                raise GiveBack
            await self._changed.wait()
        self._at_work.add(step)
        before = self.recorded.get(step)
        if before is not None:
            self._journal.tried(step, before.tries)
        return waited

    def end(self, step: StepId) -> None:
        self._at_work.discard(step)
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, step: StepId, seconds: float, error: Failure) -> None:
        """Raises GiveBack where the wait is long and the run has nothing else to do."""
        if seconds >= self._long_wait_s and self._at_work == {step}:
            raise GiveBack(seconds=seconds, step=step, error=error)
        if seconds:
            await asyncio.sleep(seconds)
