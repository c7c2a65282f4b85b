"""What is sent in a stream as an answer comes, whatever the format: the data of each event, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from flowyard.openai_api.replies import DONE, ChatAnswer, Chunks

Data: TypeAlias = Mapping[str, Any] | str


class StreamFormat(Protocol):
    """One of OpenAI's formats."""

    def begin(self) -> list[Data]: ...

    def text(self, text: str) -> list[Data]:
        """A piece of the answer."""

    def steps(self, text: str) -> list[Data]:
        """What is shown of another step."""

    def draft(self, text: str) -> list[Data]:
        """A piece of a reply that may still be corrected, and so is no answer yet."""

    def end(self, answer: ChatAnswer, *, completed: int) -> list[Data]:
        """All but the text, which has been sent. `completed`: seconds since 1970."""

    def fail(self, body: Mapping[str, Any]) -> list[Data]:
        """The run has failed. `body`: the error in OpenAI's form."""

    def break_off(self, body: Mapping[str, Any]) -> list[Data]:
        """The client gets no more, although the run may go on. `body`: as in `fail`."""


@dataclass(frozen=True, slots=True)
class ChatStream:
    """The stream of a chat completion."""

    chunks: Chunks

    def begin(self) -> list[Data]:
        return [self.chunks.first()]

    def text(self, text: str) -> list[Data]:
        return [self.chunks.text(text)]

    def steps(self, text: str) -> list[Data]:
        return [self.chunks.steps(text)]

    def draft(self, text: str) -> list[Data]:
        return [self.chunks.steps(text)]

    def end(self, answer: ChatAnswer, *, completed: int) -> list[Data]:
        del completed
        chunks: list[Data] = [self.chunks.refusal(answer.refusal)] if answer.refusal is not None else []
        chunks += [self.chunks.tool_call(call) for call in answer.tool_calls]
        chunks.append(self.chunks.last(answer.finish))
        chunks += [self.chunks.usage(answer.usage)] if self.chunks.with_usage else []
        return [*chunks, DONE]

    def fail(self, body: Mapping[str, Any]) -> list[Data]:
        """No `[DONE]` follows: clients would take what they have for the whole answer."""
        return [body]

    def break_off(self, body: Mapping[str, Any]) -> list[Data]:
        return [body]
