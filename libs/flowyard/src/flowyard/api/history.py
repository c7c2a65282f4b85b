"""Shapes of a run's history: events, steps, model calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from flowyard.api import examples
from flowyard.api.runs import FailureView
from flowyard.runs.run import Entry, Step

Seq: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]


class EventView(BaseModel, json_schema_extra={"examples": [examples.EVENT]}):
    """Something that happened to a run. `seq` counts from 1; the keys of `data` depend on `type`."""

    seq: int
    at: datetime
    type: str
    data: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> EventView:
        return cls.model_construct(seq=entry.seq, at=entry.at, type=entry.type, data=dict(entry.data))


class EventPage(BaseModel):
    """Events, in order."""

    items: list[EventView]
    next_after: Annotated[int, Field(description="The `after` of the next page")]


class TokenView(BaseModel, json_schema_extra={"examples": [examples.TOKEN]}):
    """A piece of a model's reply, as it comes. A greater `epoch`: the text of the step starts over."""

    node: str
    visit: int
    item: int | None
    epoch: int
    text: str


class StepView(BaseModel, json_schema_extra={"examples": [examples.STEP]}):
    """One execution of one node that has ended, or waits for its next try. `item`: its index in a map."""

    node: str
    visit: int
    item: int | None
    status: Literal["succeeded", "failed", "waiting"]
    seq: Annotated[int, Field(description="The number of the event that ended it")]
    started_at: datetime
    duration_s: float
    outputs: dict[str, Any] | None
    error: FailureView | None
    handled: Annotated[str | None, Field(description="How the run went on: fail, continue, goto, skip or collect")]
    tries: int

    @classmethod
    def of(cls, step: Step) -> StepView:
        values: dict[str, Any] = {name: getattr(step, name) for name in cls.model_fields}
        error = FailureView.of(step.error) if step.error is not None else None
        outputs = dict(step.outputs) if step.outputs is not None else None
        return cls.model_construct(**values | {"error": error, "outputs": outputs})


class StepList(BaseModel):
    """Steps, in the order in which they ended."""

    items: list[StepView]


class CallView(BaseModel, json_schema_extra={"examples": [examples.CALL]}):
    """One call of one model. null: unknown, which is not zero."""

    seq: int
    node: str
    visit: int
    item: int | None
    provider: str
    model: str
    at: datetime
    duration_s: float
    first_token_s: float | None
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    cost_usd: Annotated[str | None, Field(description="A decimal number, in US dollars")]
    error: Annotated[str | None, Field(description="The error's code; null: it succeeded")]
    retries: Annotated[int, Field(description="How often its step had been tried before")]


class CallList(BaseModel):
    """Calls, in the order in which they ended."""

    items: list[CallView]
