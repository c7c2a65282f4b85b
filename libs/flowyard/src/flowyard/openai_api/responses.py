"""A response of the responses API: the resource, and its output items.

Format: https://www.openresponses.org/specification
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from flowyard.openai_api.replies import ChatAnswer, TokenUsage

PREFIX: Final = "resp_"
"""Of the id of a response; the rest is the id of its run."""
NAMELESS: Final = rf"^{PREFIX}[0-9a-f-]{{36}}$"
"""A pattern of the names of conversations that nobody has named: each is the id of its first response."""
Status: TypeAlias = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]
Item: TypeAlias = dict[str, Any]
INCOMPLETE: Final[Mapping[str, str]] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer isn't whole, by its finish_reason in the chat API."""


def run_of(response_id: str) -> UUID | None:
    """The run of a response; None: nothing of ours has this id."""
    text = response_id.removeprefix(PREFIX)
    try:
        run = UUID(text)
    except ValueError:
        return None
    return run if response_id == f"{PREFIX}{run}" else None


@dataclass(frozen=True, slots=True)
class Echo:
    """What a response repeats of its request."""

    instructions: str | None = None
    previous_response_id: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    metadata: Mapping[str, Any] | None = None
    store: bool = True

    @property
    def data(self) -> dict[str, Any]:
        names = ("name", "description", "parameters", "strict")
        return {
            "instructions": self.instructions,
            "previous_response_id": self.previous_response_id,
            "tools": [{"type": "function", **{name: tool.get(name) for name in names}} for tool in self.tools],
            "tool_choice": self.tool_choice or "auto",
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "metadata": dict(self.metadata or {}),
            "store": self.store,
        }


_DEFAULTS: Final[Mapping[str, Any]] = {
    "truncation": "disabled",
    "text": {"format": {"type": "text"}},
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "temperature": 1,
    "reasoning": {"effort": None, "summary": None},
    "max_output_tokens": None,
    "max_tool_calls": None,
    "background": False,
    "service_tier": "default",
    "safety_identifier": None,
    "prompt_cache_key": None,
}
"""Keys that clients require. Those of a request change nothing: the document decides, and it isn't shown."""


@dataclass(frozen=True, slots=True)
class OutputItems:
    """The items of the response that is this run. Their ids are made of the run's, so that they are found again."""

    run_id: UUID

    def items(self, answer: ChatAnswer) -> list[Item]:
        items = [self.reasoning([answer.steps])] if answer.steps else []
        if answer.text or not answer.tool_calls:
            part = text_part(answer.text) if answer.refusal is None else refusal_part(answer.refusal)
            items.append(self.message([part], "incomplete" if answer.finish in INCOMPLETE else "completed"))
        return [*items, *(self.call(call, i) for i, call in enumerate(answer.tool_calls))]

    def message(self, parts: Sequence[Item], status: str) -> Item:
        content = list(parts)
        return {
            "id": f"msg_{self.run_id}",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def reasoning(self, texts: Sequence[str]) -> Item:
        return {"id": f"rs_{self.run_id}", "type": "reasoning", "summary": [summary_part(text) for text in texts]}

    def call(self, call: Mapping[str, Any], index: int) -> Item:
        """A call of a function. `call`: as messages have it; `index`: its number among the calls, from 0."""
        return {
            "id": f"fc_{self.run_id}_{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
        }


@dataclass(frozen=True, slots=True)
class ResponseHead(OutputItems):
    """What is known from the beginning. `created`: seconds since 1970. `echo`: `Echo.data`, maybe as stored."""

    model: str
    created: int
    echo: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{PREFIX}{self.run_id}"

    def resource(
        self,
        status: Status,
        output: Sequence[Item] = (),
        *,
        completed: int | None = None,
        usage: TokenUsage | None = None,
        error: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        """`completed`: seconds since 1970. `error`: as in OpenAI's error bodies. `reason`: why it is incomplete."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": completed if status == "completed" else None,
            "status": status,
            "error": {"code": error["code"], "message": error["message"]} if error is not None else None,
            "incomplete_details": {"reason": reason} if reason is not None else None,
            "model": self.model,
            "output": list(output),
            "usage": _usage(usage) if usage is not None else None,
            **_DEFAULTS,
            **self.echo,
        }

    def whole(self, answer: ChatAnswer, *, completed: int | None) -> dict[str, Any]:
        """The response with an answer."""
        reason = INCOMPLETE.get(answer.finish)
        status: Status = "completed" if reason is None else "incomplete"
        items = self.items(answer)
        return self.resource(status, items, completed=completed, usage=answer.usage, reason=reason)


def text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Item:
    return {"type": "refusal", "refusal": text}


def summary_part(text: str) -> Item:
    return {"type": "summary_text", "text": text}


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "output_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        # Required by clients, which read zero as none that are known.
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
