"""A run and what is stored of it, and the moves between its states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

from flowyard.errors.requests import IllegalMove
from flowyard.language.on_finish import Receiver
from flowyard.runs.events import Failure, StepId
from flowyard.runs.summary import add_known

State: TypeAlias = Literal["queued", "running", "waiting", "succeeded", "failed", "cancelled"]
Move: TypeAlias = Literal["claim", "hand_back", "wait", "wake", "succeed", "fail", "cancel", "retry"]

STATES: Final[tuple[State, ...]] = get_args(State)
ENGINE: Final = 1
"""The rules by which new runs go on: how branches meet, what is recorded, what a replay compares."""
ENGINES: Final = (0, ENGINE)
"""All that this version knows. 0: no decisions were recorded, so a replay makes them again without a comparison."""
OPEN: Final[frozenset[State]] = frozenset({"queued", "running", "waiting"})

MOVES: Final[Mapping[Move, Mapping[State, State]]] = {
    "claim": {"queued": "running"},
    "hand_back": {"running": "queued"},
    "wait": {"running": "waiting"},
    "wake": {"waiting": "queued"},
    "succeed": {"running": "succeeded"},
    "fail": {"running": "failed", "queued": "failed", "waiting": "failed"},
    "cancel": {"queued": "cancelled", "running": "cancelled", "waiting": "cancelled"},
    "retry": {"failed": "queued"},
}
"""Every legal move of a run: from which state to which.

`storage.moves` looks moves up here, except for `wake`, which is written into its SQL, as are those of a run's executor:
`claim` into claim_runs.sql, `hand_back`, `wait`, `succeed` and the other ends of a claim into commit.sql.
The test that compares the database with a model of it (test_state_machine.py) checks that they, too, are in this table.
"""


_DONE: Final[Mapping[Move, str]] = {
    "claim": "claimed",
    "hand_back": "handed back",
    "wait": "made to wait",
    "wake": "woken",
    "succeed": "finished",
    "fail": "failed",
    "cancel": "cancelled",
    "retry": "retried",
}


def after(move: Move, state: State, run_id: UUID) -> State:
    """The state after a move. Raises IllegalMove."""
    to = MOVES[move].get(state)
    if to is None:
        raise IllegalMove(str(run_id), run_status=state, move=_DONE[move])
    return to


@dataclass(frozen=True, slots=True)
class Change:
    """Fields of the workflow's state that a fork changes before a step, with their new values."""

    node: str
    visit: int
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fork:
    """The step before which a fork leaves its origin, and the fields of the state that it changes there.

    `earlier`: the changes of the origin, if that is a fork too.
    """

    origin: UUID
    node: str
    visit: int
    state: Mapping[str, Any]
    earlier: tuple[Change, ...] = ()

    def changes_before(self, node: str, visit: int) -> dict[str, Any]:
        """The fields that are changed before a step; the latest change wins."""
        changes = (*self.earlier, Change(self.node, self.visit, self.state))
        return {
            k: v for change in changes if (change.node, change.visit) == (node, visit) for k, v in change.state.items()
        }


@dataclass(frozen=True, slots=True)
class Spending:
    """What the model calls of a run or a step used. None: at least one part is unknown, which is not zero."""

    calls: int = 0
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    cost_usd: Decimal | None = Decimal(0)

    def with_call(self, *, tokens_in: int | None, tokens_out: int | None, cost_usd: Decimal | None) -> Spending:
        """With one call more."""
        return Spending(
            self.calls + 1,
            add_known(self.tokens_in, tokens_in),
            add_known(self.tokens_out, tokens_out),
            add_known(self.cost_usd, cost_usd),
        )


@dataclass(frozen=True, slots=True)
class CallStart:
    """A model call of a step that is about to be made.

    `part`: its number among the step's calls, those of tools included, from 1. `round`: how many replies of the step
    have called tools, or were corrected by this claim. `question`: its number among the step's questions, from 0: a
    call that has had no answer is made again as the same question, so that the provider may answer it once.
    """

    step: StepId
    part: int
    round: int
    question: int
    provider: str
    model: str

    def key(self, step_key: str) -> str:
        """The call's idempotency key."""
        return f"{step_key}+{self.question}" if self.question else step_key


@dataclass(frozen=True, slots=True)
class StepCalls:
    """The calls of one step so far: what they used together, and the last one.

    `was_answered`: that one was; `is_open`: it was in flight when its executor was lost, and its end isn't recorded.
    `parts`: the number of the step's last part, a call of a model or of a tool.
    """

    spending: Spending = Spending()
    last: CallStart | None = None
    was_answered: bool = True
    is_open: bool = False
    parts: int = 0

    def next(self, step: StepId, in_round: int, provider: str, model: str) -> CallStart:
        last, start = self.last, (in_round, provider, model)
        if last is None:
            return CallStart(step, self.parts + 1, in_round, 0, provider, model)
        part = max(self.parts, last.part) + 1
        is_same = not self.was_answered and start == (last.round, last.provider, last.model)
        return CallStart(step, part, in_round, last.question + (not is_same), provider, model)


@dataclass(frozen=True, slots=True)
class Part:
    """What is recorded of a call that a step made under an earlier claim: of a tool, or of a model that may call tools.

    `tool`: its name; None: a model. `has_ended`: else its outcome isn't known. `result`: as JSON has it, see
    `tools.tool.ToolResult` and `steps.kept_replies`; None: it isn't kept, and the call is no part of the conversation.
    """

    part: int
    question: int
    call: int
    tool: str | None
    has_ended: bool
    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of one revision. Times are UTC, from the database's clock.

    `attempt`: claims since the submission or the last retry; those that were handed back don't count. 0: never claimed.
    `worked_s`: how long executors had it; the rest of its time it was queued, waited, or had failed. `large_outputs`:
    by name, the bytes of the outputs that aren't among its `outputs`, since they are large. A list has no values.
    `session_id`: the conversation whose turn it is.
    """

    id: UUID
    workflow: str
    revision: int
    digest: str
    status: State
    priority: int
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    wake_at: datetime | None
    cancel_requested: bool
    executor: str | None
    worked_s: float
    last_seq: int
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None
    error: Failure | None
    spending: Spending
    forked_from: UUID | None = None
    session_id: UUID | None = None
    large_outputs: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run that is to be stored. `definition`: the id of its stored document.

    `key`: the caller's Idempotency-Key; `fingerprint`: SHA-256 of the request that had it. `leaves_at`: of a fork, the
    steps that it executes first, instead of those of its origin. `depth`: how many runs started it, one another; a fork
    has that of its origin. `on_finish`: whom its end is reported to.
    """

    id: UUID
    workflow: str
    revision: int
    definition: int
    inputs: Mapping[str, Any]
    priority: int
    max_attempts: int
    timeout_s: float | None
    on_finish: tuple[Receiver, ...]
    key: str | None = None
    fingerprint: bytes | None = None
    fork: Fork | None = None
    leaves_at: tuple[str, ...] = ()
    depth: int = 0


class Entry(NamedTuple):
    """An event as it is stored and sent. `seq` counts from 1; `type`: such as `step.finished`; `data`: JSON values."""

    seq: int
    at: datetime
    type: str
    data: Mapping[str, Any]


StepKind: TypeAlias = Literal["step", "map", "decision"]
StepStatus: TypeAlias = Literal["running", "waiting", "succeeded", "failed", "retrying", "interrupted"]
"""`waiting`: for its next try. `retrying`: it has failed the run, and is executed again because the run was retried.

`interrupted`: the run has ended meanwhile, or its executor was lost. What was interrupted is executed again.
"""

STEP_STATUSES: Final[tuple[StepStatus, ...]] = get_args(StepStatus)


class Step(NamedTuple):
    """What is recorded of one execution of one node, of a map as a whole, or of a decision at a place without work.

    The fields are in the order of the columns. `item`: its index in a map. `seq`: the number of the event that ended
    it, else of the last one; `start_seq`: of the event with which it last began. `started_at`: its first start.
    `deadline`: when its time is over; `left_s`: what is left of its time while it doesn't run. `wake_at`: when its next
    try may begin. `duration_s`: how long it was last at work. `handled`: how the run went on after its failure; `next`:
    how it went on after it, as it was decided; None: that isn't recorded. `outputs` of a map: how many items it has,
    and how many have ended. `outputs_bytes` isn't a column: of its outputs, as JSON, if a list leaves them out.
    """

    node: str
    visit: int
    status: StepStatus
    seq: int
    started_at: datetime
    item: int | None = None
    kind: StepKind = "step"
    start_seq: int | None = None
    tries: int = 1
    deadline: datetime | None = None
    left_s: float | None = None
    wake_at: datetime | None = None
    duration_s: float | None = None
    handled: str | None = None
    next: list[Any] | None = None
    outputs: Mapping[str, Any] | None = None
    error: Failure | None = None
    outputs_bytes: int | None = None

    @property
    def id(self) -> StepId:
        return StepId(self.node, self.visit, self.item)

    @property
    def has_ended(self) -> bool:
        return self.status in ("succeeded", "failed")

    @property
    def progress(self) -> MapProgress | None:
        """How far a map is; None for anything else."""
        if self.kind != "map" or self.outputs is None:
            return None
        return MapProgress(*(int(self.outputs[name]) for name in ("items", "done", "failed")))


class Ended(NamedTuple):
    """What a replay needs of a step, a map or a decision that has ended. The fields mean what they do in `Step`.

    A run may have tens of thousands of them.
    """

    node: str
    visit: int
    item: int | None
    status: StepStatus
    handled: str | None
    next: list[Any] | None
    outputs: Mapping[str, Any] | None
    error: Failure | None


@dataclass(frozen=True, slots=True)
class MapProgress:
    """How many items a map has, and how many of them have ended: `done` well, or `failed`."""

    items: int
    done: int
    failed: int

    def __str__(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.done:,} of {self.items:,} done{failed}"
