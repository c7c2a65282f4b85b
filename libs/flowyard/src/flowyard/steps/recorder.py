"""Where the events of a run go, and what is known of its earlier steps. In memory here; `durable` has the other one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flowyard.runs.events import Emit, Event, Failure, ModelReserved, StepFailed, StepFinished, StepId
from flowyard.runs.run import Fork, Spending, Step


class Recorder(Protocol):
    """`recorded`: steps that have ended already, and aren't executed again. `fork`: where the state is changed."""

    @property
    def recorded(self) -> Mapping[StepId, Step]: ...

    @property
    def fork(self) -> Fork | None: ...

    def spent_before(self, step: StepId) -> Spending:
        """What the step's calls used under earlier claims."""

    def emit(self, event: Event) -> None:
        """Records anything but the end of a step."""

    async def reserve(self, event: ModelReserved) -> None:
        """Returns when the reservation is durable."""

    def settle(self, task_id: str, event: StepFinished | StepFailed) -> None:
        """Records the end of a step. `task_id`: the task of LangGraph in which it ran."""

    async def begin(self, step: StepId) -> float:
        """Returns when the step may begin: when the results before it are durable. The seconds that this took."""

    def end(self, step: StepId) -> None:
        """The step isn't at work any more, however it ended."""

    async def wait(self, step: StepId, seconds: float, error: Failure) -> None:
        """Between two tries of a step; `error`: why the last try failed."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """Emits each event at once, and keeps nothing."""

    emit: Emit
    sleep: Callable[[float], Awaitable[None]]
    recorded: Mapping[StepId, Step] = field(default_factory=dict)
    fork: Fork | None = None

    def spent_before(self, step: StepId) -> Spending:
        return Spending()

    async def reserve(self, event: ModelReserved) -> None:
        self.emit(event)

    def settle(self, task_id: str, event: StepFinished | StepFailed) -> None:
        self.emit(event)

    async def begin(self, step: StepId) -> float:
        return 0.0

    def end(self, step: StepId) -> None:
        pass

    async def wait(self, step: StepId, seconds: float, error: Failure) -> None:
        if seconds:
            await self.sleep(seconds)
