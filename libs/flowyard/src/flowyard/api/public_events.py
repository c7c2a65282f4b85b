"""The data of public events: what programs outside may learn of a run's life. A model for each type.

An event has the fields of its model and no others. So what a run stores besides, such as a reply that didn't fit, or
what a later version will store, stays inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field

_Outputs: TypeAlias = Annotated[dict[str, Any], Field(description="By name; without those in `large_outputs`")]
_Large: TypeAlias = Annotated[
    dict[str, int],
    Field(description="Bytes of the outputs that are too large for events, by name; their values: GET …/outputs"),
]
_Seconds: TypeAlias = Annotated[float, Field(ge=0, description="Seconds")]
_Number: TypeAlias = Annotated[int | None, Field(description="null: unknown, which is not zero")]
_Attempt: TypeAlias = Annotated[int, Field(description="How many claims were counted so far")]
_Why: TypeAlias = Annotated[str, Field(description="Why, if anybody but its executor ended it")]


class PublicFailure(BaseModel):
    """Why something failed."""

    code: Annotated[str, Field(description="For programs; never changes")]
    message: Annotated[str, Field(description="For people")]
    node: str | None = None


class PublicEvent(BaseModel):
    """Whose event it is. Fields that aren't required are left out when there is nothing to say."""

    run_id: UUID
    workflow: Annotated[str, Field(description="The name of the workflow")]
    seq: Annotated[int, Field(ge=1, description="Its number in its run; some have no public event")]


class PublicStepEvent(PublicEvent):
    node: str
    visit: Annotated[int, Field(ge=1, description="Which visit of the node, counted from 1")]
    item: Annotated[int | None, Field(ge=0, description="The index of the item, in a map")] = None


class RunIsQueued(PublicEvent):
    """A run waits for an executor: it is new, or was given back, woken or retried."""

    reason: Annotated[str, Field(description="Why, if it isn't new")] = ""
    attempt: _Attempt = 0


class RunIsForked(PublicEvent):
    """A run is a fork of another one."""

    origin: Annotated[str, Field(description="The id of the run that it was forked from")]
    kept: Annotated[int, Field(description="How many steps it has taken over")]
    leaves_at: Annotated[list[str], Field(description="The steps that it executes first")]


class RunIsClaimed(PublicEvent):
    """An executor works on a run from now on."""

    attempt: _Attempt
    executor: str


class RunIsWaiting(PublicEvent):
    """A run is with no executor for a while."""

    reason: str
    seconds: _Seconds
    node: Annotated[str, Field(description="Whose step waits")] = ""


class RunHasSucceeded(PublicEvent):
    """A run has ended well."""

    duration_s: _Seconds
    outputs: _Outputs
    large_outputs: _Large = {}


class RunHasFailed(PublicEvent):
    """A run has failed. It may be retried: then it is queued again."""

    duration_s: _Seconds
    error: PublicFailure | None = None
    reason: _Why = ""


class RunIsCancelled(PublicEvent):
    """A run was cancelled."""

    duration_s: _Seconds
    error: PublicFailure | None = None
    reason: _Why = ""


class StepHasStarted(PublicStepEvent):
    """A step begins. After a crash, it may begin again."""

    provider: Annotated[str, Field(description="Of the model that it calls first")] = ""
    model: str = ""


class StepIsRetrying(PublicStepEvent):
    """A step has failed and will be tried again."""

    attempt: Annotated[int, Field(ge=2, description="The number of the next try")]
    delay_s: _Seconds
    error: PublicFailure


class StepHasFinished(PublicStepEvent):
    """A step has ended well. Its numbers are sums over its model calls."""

    duration_s: _Seconds
    outputs: _Outputs
    large_outputs: _Large = {}
    calls: Annotated[int, Field(ge=0, description="How many model calls it has made")]
    tokens_in: _Number
    tokens_out: _Number
    cost_usd: Annotated[str | None, Field(description="A decimal number, in US dollars; null: unknown")]


class StepHasFailed(PublicStepEvent):
    """A step has failed, after all its tries."""

    duration_s: _Seconds
    error: PublicFailure
    handled: Annotated[Literal["fail", "continue", "goto", "skip", "collect"], Field(description="How the run goes on")]


PUBLIC_EVENTS: Final[Mapping[str, type[PublicEvent]]] = {
    "run.queued": RunIsQueued,
    "run.forked": RunIsForked,
    "run.claimed": RunIsClaimed,
    "run.waiting": RunIsWaiting,
    "run.succeeded": RunHasSucceeded,
    "run.failed": RunHasFailed,
    "run.cancelled": RunIsCancelled,
    "step.started": StepHasStarted,
    "step.retrying": StepIsRetrying,
    "step.finished": StepHasFinished,
    "step.failed": StepHasFailed,
}
"""By type."""
