"""Everything that can happen to a run, as typed facts.

A stored run begins with RunQueued, a fork with RunForked after it, and each executor that takes it adds RunClaimed. A
run in memory has none of these: it begins with RunStarted. RunStarted and Token are never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["succeeded", "failed", "cancelled"]
Reason: TypeAlias = Literal[
    "submitted", "drained", "executor_lost", "released", "woken", "retried", "cancelled", "run_timeout"
]
"""Why a run was queued, or ended by anybody but its executor. `drained`: its executor stops, and has handed it back.

`executor_lost`: its lease ran out; `released`: its executor has restarted, and has no use for the lease any more.
"""
WaitReason: TypeAlias = Literal["retry"]


class StepId(NamedTuple):
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

    def __str__(self) -> str:
        """The node, the message and the code. Some messages already name the node."""
        named = self.node is None or f"node '{self.node}'" in self.message
        where = "" if named else f"node '{self.node}': "
        return f"{where}{self.message} [{self.code}]"


@dataclass(frozen=True, slots=True)
class RunQueued:
    """The run waits for an executor. `attempt`: how many claims were counted so far, where its executor was lost."""

    reason: Reason = "submitted"
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class RunForked:
    """Where a fork comes from. `kept`: how many steps it has taken over from its origin, a run.

    `leaves_at`: the steps that it executes first, instead of those of its origin. Without any it has kept all of its
    origin's path, or begins from the start.
    """

    origin: str
    kept: int
    leaves_at: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunClaimed:
    """An executor works on the run from now on. `attempt` counts from 1, and again after a retry."""

    attempt: int
    executor: str


@dataclass(frozen=True, slots=True)
class RunWaiting:
    """The run is with no executor until `seconds` are over. `node`: whose step waits; None: unknown."""

    seconds: float
    reason: WaitReason = "retry"
    node: str | None = None


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run in memory begins."""

    run_id: str
    workflow: str
    digest: str


@dataclass(frozen=True, slots=True)
class StepStarted:
    """`commit_s`: how many seconds the step waited until the results before it were on disk.

    `provider`, `model`: those that it calls first; None if it calls none, or an older version stored the event.
    `reserves`: the run has a budget, so a ModelReserved is stored before each call.
    """

    step: StepId
    commit_s: float = 0.0
    provider: str | None = None
    model: str | None = None
    reserves: bool = False


@dataclass(frozen=True, slots=True)
class ModelReserved:
    """A call of a run with a budget is about to be made, and may cost at most this. None: there is no such limit."""

    step: StepId
    provider: str
    model: str
    tokens: int | None
    usd: Decimal | None


@dataclass(frozen=True, slots=True)
class ModelWaiting:
    """A call isn't made yet, and has waited for a second: `limit` names the limit that is reached.

    `rate_limited`: the provider's answer 429 has slowed the calls down.
    """

    step: StepId
    provider: str
    model: str
    limit: str
    rate_limited: bool


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a reply, as it comes. `call`: of the step's calls, which one; `offset`: of the first character."""

    step: StepId
    text: str
    call: int = 1
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """A call of a model has ended. Durations are seconds. None: unknown. `messages`, `reply` and `reasoning`: only if
    prompts are logged; they aren't stored with the event, but with the call, as `call_texts` keeps them.

    `retries`: how often the step had been tried before. `served_by`, `reply_id`, `finish_reason`: what the answer says
    of itself, in the provider's words. `streamed`: its tokens were. `asks_json`: whether the model was asked for JSON.
    `result`: the reply of a model that may call tools, as JSON, from which its step can go on.
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
    reasoning: str | None = None
    served_by: str | None = None
    reply_id: str | None = None
    finish_reason: str | None = None
    streamed: bool = False
    asks_json: bool | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A call of a tool has ended. The code of `error`: what kind of failure it is, see `tools.tool.Outcome`.

    `question`, `call`: the number of the model's question whose answer asks for it, and its place in that answer.
    `result`: as JSON; it isn't stored with the event, but with the call.
    """

    step: StepId
    tool: str
    part: int
    question: int
    call: int
    duration_s: float
    error: Failure | None = None
    retries: int = 0
    result: str | None = None

    @property
    def outcome(self) -> str:
        return self.error.code if self.error is not None else "ok"


@dataclass(frozen=True, slots=True)
class ToolProgressed:
    """What a tool reports while it is called. `question`, `call`: as of its call. `done`, `total`: in the tool's unit;
    `total`, `text`: None if it doesn't say.
    """

    step: StepId
    tool: str
    question: int
    call: int
    done: float = 0.0
    total: float | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class CodePrinted:
    """What the code of a step has printed in one execution, perhaps only its beginning."""

    step: StepId
    text: str


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """The step is tried again after `delay_s` seconds. `attempt`: the number of the next try, from 2."""

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
    """`handled`: how the run goes on.

    `fail`: not at all; `continue`: past the step; `goto`: at another node; `skip`: without the item of the map;
    `collect`: with the error in the item's place.
    """

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
    """A turn of the loop at `node` has ended; the run goes on at `to`."""

    node: str
    turn: int
    max_iterations: int
    to: str
    outcome: Literal["again", "done", "exhausted"]


@dataclass(frozen=True, slots=True)
class RunFinished:
    """`duration_s`: since the run's first claim. `reason`: why, if anybody but its executor ended it; else None."""

    status: Status
    duration_s: float
    outputs: Mapping[str, Any]
    error: Failure | None = None
    reason: Reason | None = None


Event: TypeAlias = (
    RunQueued
    | RunForked
    | RunClaimed
    | RunWaiting
    | RunStarted
    | StepStarted
    | Token
    | ModelWaiting
    | ModelReserved
    | ModelCalled
    | ToolCalled
    | ToolProgressed
    | CodePrinted
    | RetryScheduled
    | StepFinished
    | StepFailed
    | RouteTaken
    | LoopTurned
    | RunFinished
)
Emit: TypeAlias = Callable[[Event], None]
