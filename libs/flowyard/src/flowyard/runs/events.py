"""What happens to a run, as typed facts: the engine emits them, and everything that shows or stores runs reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class StepId:
    """One execution of one node. `visit` counts from 1; `item` is the index in a map, else None."""

    node: str
    visit: int
    item: int | None = None

    def __str__(self) -> str:
        visit = f"#{self.visit}" if self.visit > 1 else ""
        return self.node + visit + (f"[{self.item}]" if self.item is not None else "")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed. `reply`: the model's reply that didn't fit, where there was one."""

    code: str
    message: str
    node: str | None = None
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class RunStarted:
    run_id: str
    workflow: str
    digest: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """`commit_s`: how long the step waited for the results before it to be on disk."""

    step: StepId
    commit_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelReserved:
    """A call of a run with a budget is about to be made, and may come to this much. None: without a limit on it."""

    step: StepId
    provider: str
    model: str
    tokens: int | None
    usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a reply, as it comes."""

    step: StepId
    text: str


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """One call to one model has ended. None where nobody can say; `messages` and `reply` only if `log_prompts`.

    `retries`: how often the step had been tried before.
    """

    step: StepId
    provider: str
    model: str
    duration_s: float
    first_token_s: float | None
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    cost_usd: Decimal | None
    error: Failure | None = None
    messages: tuple[Mapping[str, str], ...] | None = None
    retries: int = 0
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """The step is tried again after `delay_s`. `attempt` is the number of the coming try, from 2."""

    step: StepId
    attempt: int
    delay_s: float
    error: Failure


@dataclass(frozen=True, slots=True)
class StepFinished:
    """Sums over the step's model calls; a sum is None if one of its parts is unknown."""

    step: StepId
    duration_s: float
    outputs: Mapping[str, Any]
    calls: int
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class StepFailed:
    """`handled` tells how the run goes on: not at all, past the step, by another node, or without the item."""

    step: StepId
    duration_s: float
    error: Failure
    handled: Literal["fail", "continue", "goto", "skip", "collect"]


@dataclass(frozen=True, slots=True)
class RouteTaken:
    """`condition` is None for the default route."""

    node: str
    to: str
    condition: str | None


@dataclass(frozen=True, slots=True)
class LoopTurned:
    """A turn of the loop at `node` is over; `to` is where the run goes on."""

    node: str
    turn: int
    max_iterations: int
    to: str
    outcome: Literal["again", "done", "exhausted"]


@dataclass(frozen=True, slots=True)
class RunFinished:
    status: Status
    duration_s: float
    outputs: Mapping[str, Any]
    error: Failure | None = None


Event: TypeAlias = (
    RunStarted
    | StepStarted
    | Token
    | ModelReserved
    | ModelCalled
    | RetryScheduled
    | StepFinished
    | StepFailed
    | RouteTaken
    | LoopTurned
    | RunFinished
)
Emit: TypeAlias = Callable[[Event], None]
