"""Where the events of a run go, and what is known of its earlier steps. In memory here; `durable` has the other one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

from flowyard.runs.events import (
    Emit,
    Event,
    Failure,
    LoopTurned,
    ModelReserved,
    RouteTaken,
    StepFailed,
    StepFinished,
    StepId,
    ToolCalled,
)
from flowyard.runs.run import CallStart, Fork, Part, Step, StepCalls

Next: TypeAlias = Sequence[Any]
"""How a run continues after a step, as it is recorded: the places that come next, and the facts of a choice."""
Choice: TypeAlias = RouteTaken | LoopTurned
"""The event of a decision that was made by a condition."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A step that may start. `commit_s`: how many seconds it has waited until the results before it were durable.

    `left_s`: seconds until its deadline; None: it has none. `started_at`: its first start, as it is recorded.
    """

    commit_s: float
    left_s: float | None
    started_at: datetime


class Recorder(Protocol):
    """`open_steps`: what earlier claims have begun and not ended. `fork`: where the state is changed."""

    @property
    def open_steps(self) -> Mapping[StepId, Step]: ...

    @property
    def fork(self) -> Fork | None: ...

    def now(self) -> datetime:
        """The time that is recorded of what happens now."""

    def calls_before(self, step: StepId) -> StepCalls:
        """The step's calls under earlier claims."""

    def go_on(self) -> None:
        """Called often during a replay. Raises what stops it."""

    def emit(self, event: Event) -> None:
        """Records anything but the end of a step and a decision."""

    async def begin_call(self, call: CallStart, reserved: ModelReserved | None) -> None:
        """Records that a call is about to be made. Returns when what is reserved for it is durable."""

    async def parts_before(self, step: StepId) -> Sequence[Part]:
        """What earlier claims have recorded of the step's calls of tools, and of replies that it goes on from."""

    async def replies_durable(self) -> None:
        """Returns when all replies that were emitted are durable: only then may a tool be called that they ask for."""

    async def begin_tool(self, call: ToolCalled) -> None:
        """Records that a tool is about to be called that may be called only once. Returns when that is durable."""

    def settle(self, end: StepFinished | StepFailed, next_: Next | None = None, choice: Choice | None = None) -> None:
        """Records the end of a step, together with how the run continues. `next_` None: it doesn't, or in a map."""

    def decide(self, place: StepId, next_: Next, choice: Choice | None) -> None:
        """Records how the run continues from a place without work."""

    def start_map(self, step: StepId, progress: dict[str, Any]) -> None:
        """Records that a map begins or goes on. `progress`: its items, their digest, and how many have ended."""

    def settle_map(self, step: StepId, next_: Next, choice: Choice | None) -> None:
        """Records that all items of a map have ended, and how the run continues."""

    def end_run(self) -> None:
        """Nothing follows but the run's end: what isn't durable yet becomes so with it."""

    async def begin(self, step: StepId, timeout_s: float | None) -> Begun:
        """Returns when the step may begin: when the results before it are durable. `timeout_s`: its time limit."""

    def pause_deadline(self, step: StepId, left_s: float) -> None:
        """The step's time doesn't run now; so many seconds of it are left."""

    def resume_deadline(self, step: StepId, left_s: float) -> None:
        """Starts the step's time limit again: it ends in `left_s` seconds."""

    async def step_aside(self, step: StepId) -> None:
        """For a step that has done nothing yet: if the run is to be handed back, it is as if it hadn't begun."""

    def end(self, step: StepId) -> None:
        """The step isn't at work any more, however it ended."""

    async def wait(self, step: StepId, seconds: float, error: Failure) -> None:
        """Between two tries of a step; `error`: why the last try failed."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """Emits each event at once, and keeps nothing."""

    emit: Emit
    sleep: Callable[[float], Awaitable[None]]
    open_steps: Mapping[StepId, Step] = field(default_factory=dict)
    fork: Fork | None = None

    def go_on(self) -> None:
        pass

    def now(self) -> datetime:
        return datetime.now(UTC)

    def calls_before(self, step: StepId) -> StepCalls:
        return StepCalls()

    async def begin_call(self, call: CallStart, reserved: ModelReserved | None) -> None:
        if reserved is not None:
            self.emit(reserved)

    async def parts_before(self, step: StepId) -> Sequence[Part]:
        return ()

    async def replies_durable(self) -> None:
        pass

    async def begin_tool(self, call: ToolCalled) -> None:
        pass

    def settle(self, end: StepFinished | StepFailed, next_: Next | None = None, choice: Choice | None = None) -> None:
        self.emit(end)
        if choice is not None:
            self.emit(choice)

    def decide(self, place: StepId, next_: Next, choice: Choice | None) -> None:
        if choice is not None:
            self.emit(choice)

    def start_map(self, step: StepId, progress: dict[str, Any]) -> None:
        pass

    def settle_map(self, step: StepId, next_: Next, choice: Choice | None) -> None:
        self.decide(step, next_, choice)

    def end_run(self) -> None:
        pass

    async def begin(self, step: StepId, timeout_s: float | None) -> Begun:
        return Begun(0.0, timeout_s, self.now())

    def pause_deadline(self, step: StepId, left_s: float) -> None:
        pass

    def resume_deadline(self, step: StepId, left_s: float) -> None:
        pass

    async def step_aside(self, step: StepId) -> None:
        pass

    def end(self, step: StepId) -> None:
        pass

    async def wait(self, step: StepId, seconds: float, error: Failure) -> None:
        if seconds:
            await self.sleep(seconds)
