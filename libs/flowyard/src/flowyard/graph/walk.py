"""One run on its way through its workflow: what ends is recorded and leads on; what is recorded isn't done again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from flowyard.errors.base import FlowyardError
from flowyard.errors.runs import ReplayMismatch
from flowyard.graph.maps import collected, recorded_results
from flowyard.graph.marking import Branch, Marking
from flowyard.graph.plan import Plan
from flowyard.graph.state import State
from flowyard.graph.transitions import Decision, items_of
from flowyard.runs.events import Failure, StepFailed, StepFinished, StepId
from flowyard.runs.run import Step
from flowyard.steps.context import StepContext
from flowyard.steps.failures import failure_of
from flowyard.steps.recorder import Recorder

_LONG_S: Final = 0.01
"""Seconds after which a replay lets other work of the process go on."""


class NodeFailed(Exception):
    """Ends the run. `failure`: of the step, or of the choice after it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(slots=True)
class Walk:
    """What the nodes of one run's graph share. `failed`: the error that ends the run, once there is one."""

    plan: Plan
    marking: Marking
    steps: StepContext
    failed: NodeFailed | None = None
    _paused: float = field(default_factory=time.monotonic)
    _unreached: set[StepId] = field(default_factory=set)

    @property
    def recorder(self) -> Recorder:
        return self.steps.recorder

    def end_step(self, branch: Branch, end: StepFinished | StepFailed) -> list[Branch]:
        """Records how a step ended, and how the run continues. What is at work next. Raises NodeFailed."""
        outputs, failure = (end.outputs, None) if isinstance(end, StepFinished) else ({}, end)
        if failure is not None and failure.handled == "fail":
            self.recorder.settle(end)
            raise self.fail(failure.error)
        handled = failure.handled if failure is not None else None
        try:
            decision = self.plan.decision(branch.at, branch.state, outputs, handled)
        except FlowyardError as error:
            # The step has ended well, and stays so: what fails the run is the choice after it.
            self.recorder.settle(end)
            raise self.fail(failure_of(error, branch.at)) from error
        self.recorder.settle(end, decision.data, decision.event)
        return self.marking.advance(branch, decision, outputs)

    def end_map(self, branch: Branch, outputs: dict[str, Any]) -> list[Branch]:
        """`outputs`: the collected results of the map's items. Raises NodeFailed."""
        decision = self._decided(branch, outputs)
        self.recorder.settle_map(StepId(branch.at, branch.visit), decision.data, decision.event)
        return self.marking.advance(branch, decision, outputs)

    def choose(self, branch: Branch) -> list[Branch]:
        """Continues from a place without work. Raises NodeFailed."""
        decision = self._decided(branch, {})
        self.recorder.decide(StepId(branch.at, branch.visit), decision.data, decision.event)
        return self.marking.advance(branch, decision, None)

    def fail(self, failure: Failure) -> NodeFailed:
        """The error that ends the run: that of the first step that failed it."""
        if self.failed is None:
            self.failed = NodeFailed(failure)
        return self.failed

    async def replay(self) -> list[Branch]:
        """Continues from the recorded steps, and returns what is at work then. It records and emits nothing.

        Raises ReplayMismatch if a recorded decision isn't the one that follows now, or if recorded steps are left over.
        """
        recorded = self.recorder.recorded
        self._unreached = {id_ for id_, step in recorded.items() if step.has_ended}
        at_work: list[Branch] = []
        ready = deque(self.marking.ready)
        while ready:
            branch = ready.popleft()
            step = recorded.get(StepId(branch.at, branch.visit))
            if step is not None and step.has_ended:
                self._unreached.discard(step.id)
                ready += await self._replay_step(branch, step)
                await self.pause()
                continue
            is_map = branch.at in self.plan.maps and bool(recorded)
            has_all_items = is_map and not (await self._recorded_items(branch))[1]
            if self.steps.engine == 0 and self._unreached and (has_all_items or branch.at in self.plan.deciding):
                # These rules recorded neither decisions at places without work nor the ends of maps.
                ready += await self._replay_unrecorded(branch)
            else:
                at_work.append(branch)
        if self._unreached:
            names = ", ".join(sorted(map(str, self._unreached))[:3])
            raise ReplayMismatch(f"{len(self._unreached)} recorded steps aren't reached from the start: {names}")
        return at_work

    async def pause(self) -> None:
        """Lets other work of the process go on, if this run has held it up for long."""
        if time.monotonic() - self._paused > _LONG_S:
            await asyncio.sleep(0)
            self._paused = time.monotonic()

    async def _replay_step(self, branch: Branch, step: Step) -> list[Branch]:
        outputs = await self._recorded_outputs(branch, step)
        decision = self._decided(branch, outputs, step.handled if step.status == "failed" else None)
        if step.next is not None and step.next != decision.data:
            place = StepId(branch.at, branch.visit)
            raise ReplayMismatch(f"after {place} the run went on with {step.next}, and now with {decision.data}")
        return self.marking.advance(branch, decision, outputs)

    async def _replay_unrecorded(self, branch: Branch) -> list[Branch]:
        outputs = {}
        if branch.at in self.plan.maps:
            results, _ = await self._recorded_items(branch)
            outputs = collected(self.plan.maps[branch.at], results)
        return self.marking.advance(branch, self._decided(branch, outputs), outputs)

    async def _recorded_outputs(self, branch: Branch, step: Step) -> dict[str, Any]:
        map_ = self.plan.maps.get(branch.at)
        if map_ is None:
            return dict(step.outputs or {})
        results, missing = await self._recorded_items(branch)
        if missing:
            raise ReplayMismatch(f"item {missing[0]} of the map {step.id} isn't recorded, but the map has ended")
        return collected(map_, results)

    async def _recorded_items(self, branch: Branch) -> tuple[list[list[Any]], list[int]]:
        """The results of a map's recorded items, and the indexes of the others."""
        map_, place = self.plan.maps[branch.at], StepId(branch.at, branch.visit)
        items = items_of(map_, branch.state)
        results, missing = await recorded_results(map_, place, items, self.recorder.recorded, self.pause)
        self._unreached.difference_update(StepId(branch.at, branch.visit, i) for i in range(len(items)))
        return results, missing

    def _decided(self, branch: Branch, outputs: State, handled: str | None = None) -> Decision:
        try:
            return self.plan.decision(branch.at, branch.state, outputs, handled)
        except FlowyardError as error:
            raise self.fail(failure_of(error, branch.at)) from error
