"""Shapes of Open Responses: https://www.openresponses.org/specification"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from flowyard.api.chat import MOST_MESSAGES

_Input: TypeAlias = (
    Annotated[str, Field(min_length=1)] | Annotated[list[Any], Field(min_length=1, max_length=MOST_MESSAGES)]
)


def _input(value: Any) -> str | list[Any]:
    if not isinstance(value, str | list):
        raise ValueError("it should be a text or a list")  # noqa: TRY004  # pydantic's
    if not value:
        raise ValueError("it is empty")
    if isinstance(value, list) and len(value) > MOST_MESSAGES:
        raise ValueError(f"it has {len(value):,} items; the limit is {MOST_MESSAGES:,}")
    return value


class ResponseRequest(BaseModel):
    """A request in the format of Open Responses. Keys that aren't listed are accepted; documents may use them."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"model": "support", "input": "Where is my order?"}]}
    )

    model: Annotated[str, Field(min_length=1, max_length=256, description="The name of a workflow with a chat trigger")]
    input: Annotated[
        str | list[Any],
        # Not checked as a union: an error of it would name the parts of the union in the place.
        PlainValidator(_input, json_schema_input_type=_Input),
        Field(description="A text, or items: messages, calls of functions, and their outputs"),
    ]
    instructions: Annotated[str | None, Field(description="A message of the system, for this response alone")] = None
    previous_response_id: Annotated[
        str | None, Field(max_length=256, description="The response whose conversation goes on")
    ] = None
    store: Annotated[bool | None, Field(description="Whether it can be read and continued; by default it can")] = None
    stream: Annotated[bool | None, Field(description="The answer comes in pieces, as server-sent events")] = None
    tools: Annotated[
        list[Any] | None,
        Field(description="Functions, handed to the answering model if the workflow allows it, else ignored"),
    ] = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[
        dict[str, Any] | None, Field(description="`thread_id` or `session_id` in it names the conversation")
    ] = None
    background: Annotated[bool | None, Field(description="Not supported")] = None
    conversation: Annotated[Any, Field(description="Not supported")] = None
    prompt: Annotated[Any, Field(description="Not supported")] = None


class ResponseErrorView(BaseModel):
    code: str
    message: str


class IncompleteView(BaseModel):
    reason: Literal["max_output_tokens", "content_filter"]


class CachedView(BaseModel):
    cached_tokens: int


class ReasonedView(BaseModel):
    reasoning_tokens: int


class ResponseUsageView(BaseModel):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: CachedView
    output_tokens_details: ReasonedView


class ResponseView(BaseModel, extra="allow"):
    """A response in the format of Open Responses. Keys that aren't listed are OpenAI's defaults."""

    id: Annotated[str, Field(description="`resp_` and the id of the run")]
    object: Literal["response"]
    created_at: Annotated[int, Field(description="Seconds since 1970")]
    completed_at: Annotated[int | None, Field(description="Seconds since 1970; null: it isn't completed")]
    status: Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: ResponseErrorView | None
    incomplete_details: IncompleteView | None
    model: str
    previous_response_id: str | None
    instructions: str | None
    output: Annotated[list[dict[str, Any]], Field(description="Items: reasoning, a message, calls of functions")]
    tools: list[dict[str, Any]]
    tool_choice: Any
    parallel_tool_calls: bool
    metadata: dict[str, Any]
    store: bool
    usage: Annotated[ResponseUsageView | None, Field(description="Of all model calls of the run; null: not all known")]
