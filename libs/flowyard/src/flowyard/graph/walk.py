"""One run on its way through its workflow: records ended steps and decisions, and replays those that are recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Final

from flowyard.errors.base import FlowyardError
from flowyard.errors.runs import ReplayMismatch
from flowyard.errors.steps import InvalidOutput
from flowyard.graph.marking import Branch, Marking
from flowyard.graph.plan import Plan
from flowyard.graph.results import Results, collected, collected_fault, digest_of, item_result
from flowyard.graph.sizes import Sizes
from flowyard.graph.state import State
from flowyard.graph.transitions import Decision, items_of, recorded_time
from flowyard.large_json import out_of_the_loop
from flowyard.runs.events import Failure, StepFailed, StepFinished, StepId
from flowyard.runs.run import Ended
from flowyard.steps.context import StepContext
from flowyard.steps.failures import failure_of
from flowyard.steps.recorder import Recorder

_LONG_S: Final = 0.01
_MANY_NODES: Final = 64
"""Seconds after which a replay lets other work of the process go on."""


class NodeFailed(Exception):
    """Ends the run. `failure`: of the step, or of the choice after it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(slots=True)
class Walk:
    """What the nodes of one run's graph share. `failed`: the error that ends the run, once there is one.

    `replayed`: how many recorded rows were replayed; `is_replayed`: whether the replay is complete.
    """

    plan: Plan
    marking: Marking
    steps: StepContext
    failed: NodeFailed | None = None
    replayed: int = 0
    is_replayed: bool = False
    sizes: Sizes = field(init=False)
    _turn_began: float = field(default_factory=time.monotonic)
    _turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    _is_pausing: bool = False
    _early: dict[tuple[str, int], list[Ended]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sizes = Sizes(self.steps.sizes)

    @property
    def recorder(self) -> Recorder:
        return self.steps.recorder

    async def end_step(self, branch: Branch, end: StepFinished | StepFailed) -> list[Branch]:
        """Records how a step ended, and how the run continues. Returns the next branches. Raises NodeFailed."""
        outputs, failure = (end.outputs, None) if isinstance(end, StepFinished) else ({}, end)
        if failure is not None and failure.handled == "fail":
            self.recorder.settle(end)
            raise self.fail(failure.error)
        handled = failure.handled if failure is not None else None
        try:
            decision = await self._decision(branch, outputs, handled)
        except FlowyardError as error:
            # The step has ended well, and stays so: what fails the run is the choice after it.
            self.recorder.settle(end)
            raise self.fail(failure_of(error, branch.at)) from error
        self.recorder.settle(end, decision.data, decision.event)
        # The run doesn't keep the JSON of its values.
        return self._advance(branch, decision, dict(outputs))

    async def end_map(self, branch: Branch, outputs: dict[str, Any]) -> list[Branch]:
        """`outputs`: the collected results of the map's items. Raises NodeFailed."""
        check = partial(collected_fault, self.plan.workflow, self.plan.maps[branch.at], outputs)
        fault = await out_of_the_loop(check, outputs)
        if fault is not None:
            raise self.fail(failure_of(InvalidOutput(fault, reply=""), branch.at))
        self.sizes.end_map(self.marking, (branch.at, branch.visit), self.plan.maps[branch.at].collect_field)
        decision = await self._decided(branch, outputs)
        self.recorder.settle_map(StepId(branch.at, branch.visit), decision.data, decision.event)
        return self._advance(branch, decision, outputs)

    async def choose(self, branch: Branch) -> list[Branch]:
        """Continues from a place without work. Raises NodeFailed."""
        decision = await self._decided(branch, {})
        self.recorder.decide(StepId(branch.at, branch.visit), decision.data, decision.event)
        return self._advance(branch, decision, None)

    def fail(self, failure: Failure) -> NodeFailed:
        """Sets the error that ends the run, unless an earlier step has set one."""
        if self.failed is None:
            self.failed = NodeFailed(failure)
        return self.failed

    async def replay(self, pages: AsyncIterable[Sequence[Ended]]) -> list[Branch]:
        """Replays the recorded rows, and returns the branches to execute. Records and emits nothing.

        `pages`: the rows, in the order in which they ended. Raises ReplayMismatch if a recorded decision isn't the one
        that the workflow makes now, or if the replay doesn't reach a recorded step.
        """
        async for page in pages:
            self.recorder.go_on()
            for (node, visit, is_item), rows in groupby(page, _place_of):
                if is_item:
                    self._replay_items(node, visit, list(rows))
                else:
                    for row in rows:
                        await self._replay(row)
                        if await self.pause():
                            self.recorder.go_on()
            self.replayed += len(page)
        while self.steps.engine == 0 and self._early and (branch := self._unrecorded()) is not None:
            await self._replay(Ended(branch.at, branch.visit, None, "succeeded", None, None, None, None))
        for place in [place for place in self.marking.at_work if place[0] in self.plan.maps]:
            map_row = self.recorder.open_steps.get(StepId(*place))
            await self._check_items(self.marking.at_work[place], map_row.outputs if map_row is not None else None)
        if self._early:
            left = sorted(str(StepId(*row[:3])) for rows in self._early.values() for row in rows)
            names = ", ".join(left[:3])
            raise ReplayMismatch(f"{len(left)} recorded steps aren't reached from the start: {names}")
        await self.sizes.measure(self.marking, self.pause)
        self.is_replayed = True
        return list(self.marking.at_work.values())

    async def take_turn(self) -> None:
        """Continues the branches of a large workflow one by one, with other work of the process in between.

        LangGraph needs milliseconds for each of their moves, in proportion to the nodes of the workflow.
        """
        if len(self.plan.workflow.nodes) > _MANY_NODES:
            async with self._turns:
                await asyncio.sleep(0)

    async def pause(self) -> bool:
        """Yields to other work of the process, if this run has used the event loop for long. Returns whether it did.

        All branches of the run pause at the same time. The first one that pauses begins the next turn.
        """
        has_paused = False
        while time.monotonic() - self._turn_began > _LONG_S:
            has_paused = True
            if not self._is_pausing:
                await self._begin_turn()
                break
            await asyncio.sleep(0)
        return has_paused

    async def _begin_turn(self) -> None:
        self._is_pausing = True
        try:
            await asyncio.sleep(0)
        finally:
            self._turn_began, self._is_pausing = time.monotonic(), False

    async def _replay(self, row: Ended) -> None:
        """And the rows that follow this one, but came before it: those with one number have no order."""
        rows = [row]
        while rows:
            row = rows.pop()
            place = row.node, row.visit
            branch = self.marking.at_work.get(place)
            if branch is None:
                self._early.setdefault(place, []).append(row)
                continue
            for ready in await self._pass(branch, row):
                early = self._early.pop((ready.at, ready.visit), [])
                self._replay_items(ready.at, ready.visit, [row for row in early if row.item is not None])
                rows += [row for row in early if row.item is None]

    def _replay_items(self, node: str, visit: int, rows: Sequence[Ended]) -> None:
        branch, map_ = self.marking.at_work.get((node, visit)), self.plan.maps.get(node)
        known = len(items_of(map_, branch.state)) if branch is not None and map_ is not None else 0
        results = self.marking.results.setdefault((node, visit), Results()) if known else Results()
        for row in rows:
            if map_ is None or row.item is None or row.item >= known:
                self._early.setdefault((node, visit), []).append(row)
            else:
                results.by_item[row.item] = item_result(map_, row.outputs, row.error)
                results.failed += row.status == "failed"

    async def _pass(self, branch: Branch, row: Ended) -> list[Branch]:
        outputs = await self._outputs(branch, row)
        handled = row.handled if row.status == "failed" else None
        if row.next is None:
            return self.marking.advance(branch, await self._decided(branch, outputs, handled), outputs)
        went_on = f"after {StepId(branch.at, branch.visit)} the run went on with {row.next}, and now"
        try:
            decision = await self._decision(branch, outputs, handled, row.next)
        except FlowyardError as error:
            raise ReplayMismatch(f"{went_on} it can't: {error}") from error
        if row.next != decision.data:
            raise ReplayMismatch(f"{went_on} with {decision.data}")
        return self.marking.advance(branch, decision, outputs)

    async def _outputs(self, branch: Branch, row: Ended) -> dict[str, Any]:
        map_ = self.plan.maps.get(branch.at)
        if map_ is None:
            return dict(row.outputs or {})
        await self._check_items(branch, row.outputs)
        results = self.marking.results_of(branch)
        if pending := results.pending(items_of(map_, branch.state)):
            place = StepId(branch.at, branch.visit)
            raise ReplayMismatch(f"item {pending[0]} of the map {place} isn't recorded, but the map has ended")
        return collected(map_, results.in_order())

    async def _check_items(self, branch: Branch, recorded: Mapping[str, Any] | None) -> None:
        """`recorded`: of the map. In a snapshot, its items were checked before."""
        results = self.marking.results_of(branch)
        if recorded is None or "digest" not in recorded or results.digest is not None:
            return
        items = items_of(self.plan.maps[branch.at], branch.state)
        results.digest = await digest_of(items, self.pause)
        if (recorded["items"], recorded["digest"]) != (len(items), results.digest):
            raise ReplayMismatch(f"the map {StepId(branch.at, branch.visit)} began with other items")

    def _unrecorded(self) -> Branch | None:
        """A branch that can continue without a row.

        The oldest rules recorded neither decisions at places without work nor the ends of maps.
        """
        for branch in self.marking.at_work.values():
            map_ = self.plan.maps.get(branch.at)
            is_whole = map_ is not None and not self.marking.results_of(branch).pending(items_of(map_, branch.state))
            if is_whole or branch.at in self.plan.deciding:
                return branch
        return None

    def _advance(self, branch: Branch, decision: Decision, outputs: State | None) -> list[Branch]:
        ready = self.marking.advance(branch, decision, outputs)
        if self.marking.is_over:
            self.recorder.end_run()
        return ready

    async def _decision(
        self, branch: Branch, outputs: State, handled: str | None, recorded: Sequence[Any] | None = None
    ) -> Decision:
        """`recorded`: what it was before: what time it was then counts. Raises EvaluationError."""
        at = recorded_time(recorded) if recorded is not None else None
        now = self.recorder.now if at is None else lambda: at
        decide = partial(self.plan.decision, branch.at, branch.state, outputs, handled, now)
        reads = self.plan.reads.get(branch.at)
        return decide() if reads is None else await reads.evaluated(decide, branch.state, outputs)

    async def _decided(self, branch: Branch, outputs: State, handled: str | None = None) -> Decision:
        try:
            return await self._decision(branch, outputs, handled)
        except FlowyardError as error:
            raise self.fail(failure_of(error, branch.at)) from error


def _place_of(row: Ended) -> tuple[str, int, bool]:
    return row[0], row[1], row[2] is not None
