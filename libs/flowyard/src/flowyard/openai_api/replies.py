"""What a client gets: a completion, or the chunks of a stream. All chunks of a stream have the same head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]
ToolCalls: TypeAlias = Sequence[Mapping[str, Any]]
"""As messages have them: `[{id, type: function, function: {name, arguments}}]`."""
DONE: Final = "[DONE]"
"""The data of the event that ends a stream."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The tokens of a run. Clients get none rather than half of it."""

    prompt: int
    completion: int

    @classmethod
    def known(cls, prompt: int | None, completion: int | None) -> TokenUsage | None:
        """None: at least one of them is unknown, which is not zero."""
        return cls(prompt, completion) if prompt is not None and completion is not None else None

    @property
    def data(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A whole answer. `steps`: what is shown of the run's other steps; `refusal`: why the model didn't answer."""

    text: str
    finish: FinishReason = "stop"
    tool_calls: ToolCalls = ()
    refusal: str | None = None
    steps: str = ""
    usage: TokenUsage | None = None

    @property
    def content(self) -> str | None:
        return None if not self.text and (self.tool_calls or self.refusal is not None) else self.text


@dataclass(frozen=True, slots=True)
class CompletionHead:
    """`id`: of the completion; `created`: seconds since 1970."""

    id: str
    model: str
    created: int

    def completion(self, answer: ChatAnswer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": answer.refusal}
        message["annotations"] = []
        if answer.steps:
            message["reasoning_content"] = answer.steps
        if answer.tool_calls:
            message["tool_calls"] = list(answer.tool_calls)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
        usage = answer.usage.data if answer.usage is not None else None
        return {**self._data("chat.completion"), "choices": [choice], "usage": usage}

    def _data(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


@dataclass(slots=True)
class Chunks:
    """The chunks of one stream, in the order in which they are sent. `with_usage`: the client wants that of the run."""

    head: CompletionHead
    with_usage: bool = False
    _calls: int = field(default=0, init=False)

    def first(self) -> dict[str, Any]:
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text})

    def steps(self, text: str) -> dict[str, Any]:
        return self._chunk({"reasoning_content": text})

    def refusal(self, text: str) -> dict[str, Any]:
        return self._chunk({"refusal": text})

    def tool_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """A whole call: its arguments aren't split."""
        chunk = self._chunk({"tool_calls": [{"index": self._calls, **call}]})
        self._calls += 1
        return chunk

    def last(self, finish: FinishReason) -> dict[str, Any]:
        return self._chunk({}, finish)

    def usage(self, usage: TokenUsage | None) -> dict[str, Any]:
        """Only to a client that wants it: others expect that each chunk has a choice."""
        data = usage.data if usage is not None else None
        return {**self.head._data("chat.completion.chunk"), "choices": [], "usage": data}  # noqa: SLF001  # its own

    def _chunk(self, delta: dict[str, Any], finish: FinishReason | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**self.head._data("chat.completion.chunk"), "choices": [choice]}  # noqa: SLF001  # its own
        return {**chunk, "usage": None} if self.with_usage else chunk
