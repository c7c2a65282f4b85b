"""Shapes of a run's history: events, steps, model calls."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field

from flowyard.api import examples
from flowyard.api.runs import FailureView
from flowyard.runs.run import Entry, Step, StepStatus

Seq: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]


class EventView(BaseModel, json_schema_extra={"examples": [examples.EVENT]}):
    """Something that happened to a run. `seq` counts from 1; the keys of `data` depend on `type`.

    `large_outputs` in `data`: by name, the bytes of outputs that are too large to be in `outputs`.
    """

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
    """A piece of a model's reply, as it comes. A greater `epoch` or `call`: the text of the step starts over."""

    node: str
    visit: int
    item: int | None
    epoch: int
    call: Annotated[int, Field(description="Which of the step's model calls, counted from 1")]
    offset: Annotated[
        int | None,
        Field(
            description="Position of the first character in the reply, in Unicode characters; a gap means lost tokens"
        ),
    ]
    text: str


class ProgressView(BaseModel):
    """How many items a map has, and how many of them have ended: `done` well, or `failed`."""

    items: int
    done: int
    failed: int


class StepView(BaseModel, json_schema_extra={"examples": [examples.STEP]}):
    """One execution of one node, or a map as a whole. `item`: its index in a map.

    `running`: it is at work. `waiting`: for its next try. `retrying`: it has failed the run, and is executed again.
    `interrupted`: the run has ended, or lost its executor, while the step was at work.
    """

    node: str
    visit: int
    item: int | None
    kind: Literal["step", "map"]
    status: StepStatus
    seq: Annotated[int, Field(description="The number of the event that ended it, else of its last event")]
    started_at: Annotated[datetime, Field(description="When it first started")]
    deadline: Annotated[datetime | None, Field(description="When its timeout ends; null: its node has none")]
    wake_at: Annotated[datetime | None, Field(description="When its next try may begin, if it waits for that")]
    duration_s: Annotated[float | None, Field(description="Seconds of its last execution; null: not known yet")]
    progress: Annotated[ProgressView | None, Field(description="The progress of a map; null for a step")]
    outputs: dict[str, Any] | None
    outputs_bytes: Annotated[
        int | None, Field(description="Bytes of outputs that are too large for this answer, as JSON: see `/outputs`")
    ] = None
    error: FailureView | None
    handled: Annotated[
        str | None, Field(description="How the run continued after its failure: fail, continue, goto, skip or collect")
    ]
    tries: int

    @classmethod
    def of(cls, step: Step) -> StepView:
        values: dict[str, Any] = {name: getattr(step, name) for name in cls.model_fields}
        error = FailureView.of(step.error) if step.error is not None else None
        progress = step.progress
        outputs = dict(step.outputs) if step.outputs is not None and step.kind == "step" else None
        shown = ProgressView.model_construct(**asdict(progress)) if progress is not None else None
        return cls.model_construct(**values | {"error": error, "outputs": outputs, "progress": shown})


class StepList(BaseModel):
    """Steps, in the order in which they ended."""

    items: list[StepView]


class MessageView(BaseModel):
    role: str
    content: str


class TextsView(BaseModel):
    """The texts of a call, with secrets as `***`: at most 200,000 characters; those that are left out are counted."""

    messages: list[MessageView]
    reply: str | None = None
    reasoning: Annotated[str | None, Field(description="The model's reasoning before its reply")] = None


class CallView(BaseModel, json_schema_extra={"examples": [examples.CALL]}):
    """One call of one model. null: unknown, which is not zero."""

    seq: Annotated[
        int, Field(description="The number of its event; below 0: it has none, because its executor had lost the run")
    ]
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
    texts: Annotated[TextsView | None, Field(description="Its prompt and reply; null: not kept, or not requested")] = (
        None
    )


class CallList(BaseModel):
    """Calls, in the order in which they ended, with up to 4 MB of their texts."""

    items: list[CallView]
    texts_after: Annotated[
        int | None,
        Field(description="The `after` with which to request the texts of later calls; null: none is left out"),
    ] = None
