"""Shapes of the chat API: OpenAI's requests and models, and conversations, which are ours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flowyard.api.pages import Page
from flowyard.api.runs import SpendingView
from flowyard.runs.conversations import SessionSummary, Turn
from flowyard.runs.run import State

MOST_MESSAGES: Final = 2_000
"""Of one request."""
LONGEST_TITLE: Final = 120
"""Characters of a conversation's title."""
_ID: Final = "019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20"


class StreamOptions(BaseModel, extra="ignore"):
    include_usage: Annotated[bool | None, Field(description="A last chunk has the usage")] = None


class CompletionRequest(BaseModel):
    """A request in the format of OpenAI's chat API. Keys that aren't listed are accepted; documents may use them."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"model": "support", "messages": [{"role": "user", "content": "Hello"}]}]},
    )

    model: Annotated[str, Field(min_length=1, max_length=256, description="The name of a workflow with a chat trigger")]
    messages: Annotated[
        list[dict[str, Any]],
        Field(
            min_length=1,
            max_length=MOST_MESSAGES,
            description="All messages, or, of a conversation that is known, the new ones",
        ),
    ]
    stream: Annotated[bool | None, Field(description="The answer comes in pieces, as server-sent events")] = None
    stream_options: StreamOptions | None = None
    n: Annotated[int | None, Field(description="Only 1")] = None
    tools: Annotated[
        list[Any] | None, Field(description="Handed to the answering model if the workflow allows it, else ignored")
    ] = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    user: Annotated[str | None, Field(description="Names the conversation, unless something before it does")] = None
    metadata: Annotated[
        dict[str, Any] | None, Field(description="`thread_id` or `session_id` in it names the conversation")
    ] = None


class ChatMessageView(BaseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[Any]
    tool_calls: list[dict[str, Any]] | None = None
    reasoning_content: Annotated[str | None, Field(description="What other steps have written, if they are shown")] = (
        None
    )


class ChoiceView(BaseModel):
    index: int
    message: ChatMessageView
    logprobs: None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]


class UsageView(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionView(BaseModel):
    """An answer in the format of OpenAI's chat API."""

    id: Annotated[str, Field(description="`chatcmpl-` and the id of the run")]
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChoiceView]
    usage: Annotated[UsageView | None, Field(description="Of all model calls of the run; null: not all are known")]


class ModelView(BaseModel):
    """A workflow with a chat trigger, as a model."""

    id: Annotated[str, Field(description="The name of the workflow")]
    object: Literal["model"] = "model"
    created: Annotated[int, Field(description="Seconds since 1970")]
    owned_by: Literal["flowyard"] = "flowyard"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelView]


class SessionView(BaseModel):
    """A conversation of the API key that asks."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID, "workflow": "support", "name": "thread-7", "title": None,
                    "opening": "Where is my order?", "turns": 3,
                    "created_at": "2026-11-23T03:50:45.120000+00:00", "used_at": "2026-11-23T03:58:10.500000+00:00",
                    "spending": {"calls": 3, "tokens_in": 420, "tokens_out": 96, "cost_usd": "0.00041"},
                }
            ]
        }
    )  # fmt: skip

    id: UUID
    workflow: str
    name: Annotated[str, Field(description="As its client calls it")]
    title: Annotated[str | None, Field(description="That its user has given it")]
    opening: Annotated[str | None, Field(description="The beginning of its first message")]
    turns: int
    created_at: datetime
    used_at: datetime
    spending: Annotated[SpendingView, Field(description="Of all its runs that are kept")]

    @classmethod
    def of(cls, session: SessionSummary) -> SessionView:
        values = {name: getattr(session, name) for name in cls.model_fields if name != "spending"}
        return cls(**values, spending=SpendingView.of(session.spending))


class SessionChange(BaseModel):
    """What is to be changed of a conversation."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"title": "My order"}]})

    title: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=LONGEST_TITLE,
            pattern=r"^[^\x00-\x1f\x7f]*$",
            description="For lists; null: none of its own, so that lists show its beginning",
        ),
    ]


class SessionPage(Page[SessionView]):
    """Conversations, newest first."""


class TurnView(BaseModel):
    """Messages of a conversation that were new, and their answer."""

    number: int
    run_id: UUID
    status: State
    created_at: datetime
    messages: Annotated[list[Any], Field(description="Those that were new")]
    answer: Annotated[Any, Field(description="A text or a message, as the run's output has it; null: none, or not yet")]
    replaces: Annotated[
        int | None, Field(description="The number of a turn: it, and those after it, are left out since this one")
    ]

    @classmethod
    def of(cls, turn: Turn) -> TurnView:
        return cls(**{name: getattr(turn, name) for name in cls.model_fields})


class TurnPage(Page[TurnView]):
    """Turns, in their order."""
