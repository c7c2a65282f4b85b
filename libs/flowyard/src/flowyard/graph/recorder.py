"""Who is told what a run does, and what it did before: in memory here, durably in `durable`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flowyard.runs.events import Emit, Event, Failure, ModelReserved, StepFailed, StepFinished, StepId
from flowyard.runs.run import Fork, Step


class Recorder(Protocol):
    """`recorded`: steps that have ended already, and aren't executed again. `fork`: where the state is changed."""

    @property
    def recorded(self) -> Mapping[StepId, Step]: ...

    @property
    def fork(self) -> Fork | None: ...

    def emit(self, event: Event) -> None:
        """Anything but the end of a step."""

    async def reserve(self, event: ModelReserved) -> None:
        """Returns when it can't be forgotten any more."""

    def settle(self, task_id: str, event: StepFinished | StepFailed) -> None:
        """The end of a step, and the task of LangGraph's in which it ran."""

    async def begin(self, step: StepId) -> float:
        """Returns when the step may begin: when the results of those before it are safe. The seconds that took."""

    def end(self, step: StepId) -> None:
        """The step isn't at work any more, however it ended."""

    async def wait(self, step: StepId, seconds: float, error: Failure) -> None:
        """Between two tries of a step."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """Tells everything at once and keeps nothing."""

    emit: Emit
    sleep: Callable[[float], Awaitable[None]]
    recorded: Mapping[StepId, Step] = field(default_factory=dict)
    fork: Fork | None = None

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
