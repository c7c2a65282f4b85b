"""Shapes of the routes under `/v1/runs`."""

from __future__ import annotations

import operator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flowyard.api import examples
from flowyard.api.pages import Page
from flowyard.api.workflows import WorkflowName
from flowyard.language.addresses import url_fault
from flowyard.language.on_finish import ENDS, MOST_RECEIVERS, Content, End, Receiver
from flowyard.language.reading.keys import IDENTIFIER
from flowyard.runs.events import Failure
from flowyard.runs.run import Run, Spending, State

NodeId: TypeAlias = Annotated[str, Field(pattern=IDENTIFIER, max_length=64)]
Priority: TypeAlias = Annotated[int, Field(ge=-100, le=100)]
OpenState: TypeAlias = Literal["queued", "running", "waiting"]
MOST_CANCELLED: Final = 500
"""How many runs one request may cancel."""


class RequestBody(BaseModel, extra="forbid", frozen=True):
    """The body of a request. An unknown key is an error."""


def _usable_url(url: str) -> str:
    if (fault := url_fault(url)) is not None:
        raise ValueError(fault)
    return url


class ReceiverRequest(RequestBody):
    """A webhook that is sent when the run has ended, signed with the installation's secret."""

    url: Annotated[
        str,
        AfterValidator(_usable_url),
        Field(min_length=1, description="Where it is sent: http:// or https://, with a public address"),
    ]
    status: Annotated[
        list[End], Field(min_length=1, max_length=len(ENDS), description="The ends that are reported")
    ] = [*ENDS]
    include: Annotated[Content, Field(description="Whether the run's outputs are sent")] = "outputs"

    @property
    def receiver(self) -> Receiver:
        return Receiver(self.url, tuple(end for end in ENDS if end in self.status), self.include)


class RunRequest(RequestBody, json_schema_extra={"examples": [examples.REQUEST]}):
    """A run to submit."""

    inputs: Annotated[
        dict[str, Any], Field(default_factory=dict, description="The values of the workflow's inputs, by name")
    ]
    priority: Annotated[
        Priority | None, Field(description="Higher goes first; null: the workflow's own (`config.execution`)")
    ] = None
    stream: Annotated[
        bool, Field(description="The caller will follow the run's events: stream replies from the first call on")
    ] = False
    # Without any, the request is the same as in the release before.
    on_finish: Annotated[
        list[ReceiverRequest] | None,
        Field(
            max_length=MOST_RECEIVERS,
            exclude_if=operator.not_,
            description="Who is notified of its end, besides those that its document names",
        ),
    ] = None


class ForkPoint(RequestBody):
    """The step before which a fork leaves its origin. `visit`: which visit of the node, counted from 1."""

    node: NodeId
    visit: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1


class ForkRequest(RequestBody, json_schema_extra={"examples": [examples.FORK]}, validate_by_name=True):
    """With `from` and `state`: go on before that step, with these fields changed.

    With `inputs` or `revision`: run again, and keep the steps that would do the same again. Else start over.
    """

    point: Annotated[ForkPoint | None, Field(alias="from", description="null: the fork begins at the start")] = None
    state: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Fields to change before that step, by name")
    ]
    inputs: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Inputs that differ from the origin's, by name")
    ]
    revision: Annotated[
        Literal["latest"] | Annotated[int, Field(ge=1, le=2**31 - 1)] | None,
        Field(description="The revision of the workflow; null: the origin's"),
    ] = None


class ForkPreview(BaseModel, json_schema_extra={"examples": [examples.FORK_PREVIEW]}):
    """What a fork without `from` would do."""

    kept: Annotated[list[str], Field(description="The steps that it would keep, as `node#visit[item]`")]
    leaves_at: Annotated[list[str], Field(description="The steps that it would execute first")]


class CancelRequest(RequestBody):
    """Cancels the open runs that match all conditions. At least one of `ids`, `workflow`, `status` is needed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [examples.CANCEL],
            "anyOf": [{"required": [name]} for name in ("ids", "workflow", "status")],
        }
    )

    ids: Annotated[list[UUID] | None, Field(min_length=1, max_length=MOST_CANCELLED)] = None
    workflow: WorkflowName | None = None
    status: Annotated[list[OpenState] | None, Field(min_length=1, max_length=3)] = None
    cursor: Annotated[UUID | None, Field(description="The `next_cursor` of the previous response")] = None


class CancelledRuns(BaseModel, json_schema_extra={"examples": [examples.CANCELLED]}):
    """`run_ids`: runs that are cancelled, or that their executors will cancel. `skipped`: why others aren't."""

    count: int
    run_ids: list[UUID]
    skipped: Annotated[dict[str, str], Field(description="Error codes by run: `illegal_move`, `unknown_run`")]
    next_cursor: Annotated[
        UUID | None, Field(description="To cancel more, send the request again with this as `cursor`; null: no more")
    ]


class FailureView(BaseModel):
    """Why something failed."""

    code: str
    message: str
    node: str | None = None
    reply: Annotated[str | None, Field(description="The model's reply, if it didn't fit")] = None

    @classmethod
    def of(cls, failure: Failure) -> FailureView:
        return cls(code=failure.code, message=failure.message, node=failure.node, reply=failure.reply)


class SpendingView(BaseModel):
    """What the model calls used. null: at least one part is unknown, which is not zero."""

    calls: int
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: Annotated[str | None, Field(description="A decimal number, in US dollars")]

    @classmethod
    def of(cls, spent: Spending) -> SpendingView:
        cost_usd = money(spent.cost_usd)
        return cls(calls=spent.calls, tokens_in=spent.tokens_in, tokens_out=spent.tokens_out, cost_usd=cost_usd)


class RunListItem(BaseModel, json_schema_extra={"examples": [examples.SUMMARY]}):
    """A run, without its inputs and outputs. Times are UTC; null: not yet."""

    id: UUID
    workflow: str
    revision: int
    digest: str
    status: State
    priority: int
    attempt: Annotated[int, Field(description="How often an executor has claimed it")]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    wake_at: Annotated[datetime | None, Field(description="When a `waiting` run is queued again")]
    cancel_requested: bool
    executor: Annotated[str | None, Field(description="The executor that works on it now")]
    worked_s: Annotated[
        float, Field(description="Seconds for which executors had claimed it, without the time between claims")
    ]
    last_seq: Annotated[int, Field(description="The number of its newest event")]
    error: FailureView | None
    spending: SpendingView
    forked_from: UUID | None
    session_id: Annotated[UUID | None, Field(description="The conversation whose turn it is")] = None

    @classmethod
    def of(cls, run: Run) -> RunListItem:
        return cls.model_construct(**_values(run))


class RunPage(Page[RunListItem]):
    """Runs, newest first."""


class RunView(RunListItem, json_schema_extra={"examples": [examples.RUN]}):
    """A run with its inputs and outputs."""

    inputs: dict[str, Any]
    outputs: Annotated[dict[str, Any] | None, Field(description="Its outputs; null: it hasn't ended")]
    large_outputs: Annotated[
        dict[str, int],
        Field(description="Bytes of the values that are too large for `outputs`, by name: see `/outputs`"),
    ] = {}

    @staticmethod
    def data_of(run: Run) -> dict[str, Any]:
        """As `model_dump` would return it, without the model, which costs more than all the rest of the answer."""
        outputs = None if run.outputs is None else dict(run.outputs)
        values = _values(run)
        for name in ("error", "spending"):
            values[name] = values[name].model_dump() if values[name] is not None else None
        return values | {"inputs": dict(run.inputs), "outputs": outputs, "large_outputs": dict(run.large_outputs)}


def money(amount: Decimal | None) -> str | None:
    """The amount as a decimal number without an exponent."""
    return None if amount is None else f"{amount:f}"


_LISTED: Final = tuple(RunListItem.model_fields)


def _values(run: Run) -> dict[str, Any]:
    values = {name: getattr(run, name) for name in _LISTED}
    error = FailureView.of(run.error) if run.error is not None else None
    return values | {"error": error, "spending": SpendingView.of(run.spending)}
