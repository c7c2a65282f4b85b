"""Runs in memory whose record is kept, to be replayed: what the durable recorder writes, without a database."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from types import MappingProxyType
from typing import Any, Final

from flowyard.graph.compile import Compiled
from flowyard.graph.marking import Changes, Marking, no_changes
from flowyard.graph.run import RunResult, drive, in_pages
from flowyard.graph.snapshot import restore, snapshot_of
from flowyard.graph.walk import Walk
from flowyard.language.inputs import valid_inputs
from flowyard.llm.calls import Model, ModelCall, ModelReply, OnToken, Usage
from flowyard.runs.events import Event, Failure, ModelReserved, StepFailed, StepFinished, StepId, ToolCalled
from flowyard.runs.run import ENGINE, CallStart, Ended, Fork, Part, Step, StepCalls
from flowyard.steps.context import SizeLimits, StepContext
from flowyard.steps.recorder import Begun, Choice, Next
from flowyard.storage.database import dumps

_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Recording:
    """`recorded`: what is replayed; `steps`: that, and what is recorded since; `events`: all that are emitted."""

    recorded: Mapping[StepId, Step] = field(default_factory=dict)
    steps: dict[StepId, Step] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    fork: Fork | None = None
    at: datetime = _AT
    """What time it is, whenever somebody asks."""

    def __post_init__(self) -> None:
        self.steps = dict(self.recorded)

    @property
    def open_steps(self) -> dict[StepId, Step]:
        return {id_: step for id_, step in self.recorded.items() if not step.has_ended}

    def ended(self, after: float = -math.inf, to: float = math.inf) -> list[Ended]:
        """What is replayed, in the order in which it is read: with greater numbers than `after`, up to `to`."""
        rows = [step for step in self.recorded.values() if step.has_ended and after < step.seq <= to]
        rows.sort(key=lambda step: (step.seq, step.node, step.visit, step.item is None))
        return [ended_of(step) for step in rows]

    def go_on(self) -> None:
        pass

    def calls_before(self, step: StepId) -> StepCalls:
        return StepCalls()

    def emit(self, event: Event) -> None:
        self.events.append(event)

    async def begin_call(self, call: CallStart, reserved: ModelReserved | None) -> None:
        pass

    async def parts_before(self, step: StepId) -> Sequence[Part]:
        return ()

    async def replies_durable(self) -> None:
        pass

    async def begin_tool(self, call: ToolCalled) -> None:
        pass

    def settle(self, end: StepFinished | StepFailed, next_: Next | None = None, choice: Choice | None = None) -> None:
        self.emit(end)
        if isinstance(end, StepFinished):
            self._add(end.step, next_, status="succeeded", outputs=dict(end.outputs))
        else:
            self._add(end.step, next_, status="failed", error=end.error, handled=end.handled)
        self._choose(choice)

    def decide(self, place: StepId, next_: Next, choice: Choice | None) -> None:
        self._add(place, next_, status="succeeded", kind="decision")
        self._choose(choice)

    def start_map(self, step: StepId, progress: dict[str, Any]) -> None:
        self._add(
            step, None, status="running", kind="map", outputs={name: progress[name] for name in ("items", "digest")}
        )

    def end_run(self) -> None:
        pass

    def settle_map(self, step: StepId, next_: Next, choice: Choice | None) -> None:
        self._add(step, next_, status="succeeded", kind="map", outputs=self.steps[step].outputs)
        self._choose(choice)

    def now(self) -> datetime:
        return self.at

    async def begin(self, step: StepId, timeout_s: float | None) -> Begun:
        return Begun(0.0, timeout_s, self.at)

    def pause_deadline(self, step: StepId, left_s: float) -> None:
        pass

    def resume_deadline(self, step: StepId, left_s: float) -> None:
        pass

    async def step_aside(self, step: StepId) -> None:
        pass

    def end(self, step: StepId) -> None:
        pass

    async def wait(self, step: StepId, seconds: float, error: Failure) -> None:
        pass

    def _add(self, step: StepId, next_: Next | None, **about: Any) -> None:
        place: dict[str, Any] = {"node": step.node, "visit": step.visit, "item": step.item}
        next_list = list(next_) if next_ is not None else None
        self.steps.pop(step, None)
        # As in the journal: the number of the last event, which not each row has for itself.
        self.steps[step] = Step(**place, seq=len(self.events), started_at=_AT, next=next_list, **about)

    def _choose(self, choice: Choice | None) -> None:
        if choice is not None:
            self.emit(choice)


class Paced:
    """A model whose replies depend on the node alone, and come after random turns of the loop."""

    def __init__(self, replies: Mapping[str, Any], seed: int) -> None:
        self.replies = replies
        self.calls: list[str] = []
        self._random = Random(seed)

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        self.calls.append(call.node)
        for _ in range(self._random.randrange(6)):
            await asyncio.sleep(0)
        reply = self.replies.get(call.node, call.node)
        if isinstance(reply, Exception):
            raise reply
        return ModelReply(str(reply), Usage(), None)


def ended_of(step: Step) -> Ended:
    return Ended(step.node, step.visit, step.item, step.status, step.handled, step.next, step.outputs, step.error)


async def play(
    compiled: Compiled, recording: Recording, model: Model, *, through_seq: int | None = None, **about: Any
) -> RunResult:
    """Replays what is recorded, and executes the rest. `through_seq`: of a snapshot. `about`: as for `walk_of`."""
    walk, after = walk_of(compiled, recording, model, **about), -math.inf
    if through_seq is not None:
        after, earlier = through_seq, walk_of(compiled, recording, model, **about)
        await earlier.replay(in_pages(recording.ended(to=after)))
        assert restore(walk.marking, json.loads(dumps(snapshot_of(earlier.marking))))
    return await drive(compiled, walk, in_pages(recording.ended(after)), timeout_s=None)


def walk_of(
    compiled: Compiled,
    recording: Recording,
    model: Model,
    *,
    engine: int = ENGINE,
    changes: Changes = no_changes,
    inputs: Mapping[str, Any] = MappingProxyType({}),
    sizes: SizeLimits | None = None,
) -> Walk:
    world: dict[str, Any] = {"sizes": sizes or SizeLimits(), "chance": lambda: 0.0, "clock": lambda: 0.0}
    steps = StepContext(run_id="run", model=model, recorder=recording, streams=lambda: False, engine=engine, **world)
    marking = Marking(compiled.plan, valid_inputs(compiled.workflow, inputs), changes)
    return Walk(compiled.plan, marking, steps)
