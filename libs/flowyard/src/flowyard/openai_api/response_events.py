"""The events of a response that is streamed, in the order in which they are sent.

Each item is added, gets its parts and their pieces, and is done before the next one is added.
Format: https://www.openresponses.org/specification
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowyard.openai_api.replies import DONE, ChatAnswer
from flowyard.openai_api.responses import INCOMPLETE, Item, ResponseHead, refusal_part, summary_part, text_part
from flowyard.openai_api.streams import Data


@dataclass(slots=True)
class ResponseEvents:
    """The events of one response."""

    head: ResponseHead
    _number: int = field(default=0, init=False)
    _output: list[Item] = field(default_factory=list, init=False)
    """The items that are done."""
    _steps: list[str] = field(default_factory=list, init=False)
    _text: str | None = field(default=None, init=False)
    """Of the message that has begun."""

    def begin(self) -> list[Data]:
        resource = self.head.resource("in_progress")
        return [self._event("created", response=resource), self._event("in_progress", response=resource)]

    def draft(self, text: str) -> list[Data]:
        """Nothing: what is shown of steps becomes a part of the response, and each piece would be one."""
        del text
        return []

    def steps(self, text: str) -> list[Data]:
        """What is shown of another step. Nothing once the message has begun: its item comes before that."""
        if self._text is not None:
            return []
        item = self.head.reasoning([])
        events = [] if self._steps else [self._added(item)]
        place = {"item_id": item["id"], "output_index": 0, "summary_index": len(self._steps)}
        self._steps.append(text)
        return [
            *events,
            self._event("reasoning_summary_part.added", **place, part=summary_part("")),
            self._event("reasoning_summary_text.delta", **place, delta=text),
            self._event("reasoning_summary_text.done", **place, text=text),
            self._event("reasoning_summary_part.done", **place, part=summary_part(text)),
        ]

    def text(self, text: str) -> list[Data]:
        events = self._begin_message(text_part("")) if self._text is None else []
        self._text = (self._text or "") + text
        return [*events, self._event("output_text.delta", **self._place(), delta=text, logprobs=[])]

    def end(self, answer: ChatAnswer, *, completed: int) -> list[Data]:
        """All that comes after the last piece of the text. `completed`: seconds since 1970."""
        events = [*self._end_message(answer), *self._end_steps()]
        for i, call in enumerate(answer.tool_calls):
            events += self._call(self.head.call(call, i))
        reason = INCOMPLETE.get(answer.finish)
        status = "completed" if reason is None else "incomplete"
        resource = self.head.resource(
            "completed" if reason is None else "incomplete",
            self._output,
            completed=completed,
            usage=answer.usage,
            reason=reason,
        )
        return [*events, self._event(status, response=resource), DONE]

    def fail(self, body: Mapping[str, Any]) -> list[Data]:
        """`body`: the error in OpenAI's form. What the client has of the message stays, as one that isn't whole."""
        events = self._end_steps()
        output = list(self._output)
        if self._text is not None:
            output.append(self.head.message([text_part(self._text)], "incomplete"))
        resource = self.head.resource("failed", output, error=body["error"])
        return [*events, self._event("failed", response=resource), DONE]

    def break_off(self, body: Mapping[str, Any]) -> list[Data]:
        """Clients raise an exception. The response itself has neither failed nor ended, and can be read later."""
        error = {"type": "error", "sequence_number": self._number, "error": body["error"]}
        self._number += 1
        return [error]

    def _begin_message(self, part: Item) -> list[Data]:
        events = self._end_steps()
        return [
            *events,
            self._added(self.head.message([], "in_progress")),
            self._event("content_part.added", **self._place(), part=part),
        ]

    def _end_message(self, answer: ChatAnswer) -> list[Data]:
        if answer.refusal is not None:
            return self._refuse(answer.refusal)
        events: list[Data] = []
        if self._text is None:
            if answer.tool_calls:
                return []
            events, self._text = self._begin_message(text_part("")), ""
        part = text_part(self._text)
        return [
            *events,
            self._event("output_text.done", **self._place(), text=self._text, logprobs=[]),
            self._event("content_part.done", **self._place(), part=part),
            self._done(self.head.message([part], "incomplete" if answer.finish in INCOMPLETE else "completed")),
        ]

    def _refuse(self, text: str) -> list[Data]:
        """A refusal. If the client has a part of a text, that is the first part of the message."""
        events: list[Data] = []
        parts: list[Item] = []
        if self._text is None:
            events += self._begin_message(refusal_part(""))
        else:
            parts.append(text_part(self._text))
            events += [
                self._event("output_text.done", **self._place(), text=self._text, logprobs=[]),
                self._event("content_part.done", **self._place(), part=parts[0]),
                self._event("content_part.added", **self._place(1), part=refusal_part("")),
            ]
        place = self._place(len(parts))
        parts.append(refusal_part(text))
        return [
            *events,
            self._event("refusal.delta", **place, delta=text),
            self._event("refusal.done", **place, refusal=text),
            self._event("content_part.done", **place, part=parts[-1]),
            self._done(self.head.message(parts, "completed")),
        ]

    def _end_steps(self) -> list[Data]:
        if not self._steps or self._output:
            return []
        return [self._done(self.head.reasoning(self._steps))]

    def _call(self, item: Item) -> list[Data]:
        """A whole call: its arguments aren't split."""
        place = {"item_id": item["id"], "output_index": len(self._output)}
        return [
            self._added({**item, "arguments": "", "status": "in_progress"}),
            self._event("function_call_arguments.delta", **place, delta=item["arguments"]),
            # The spec lacks the name here, which OpenAI's own clients read.
            self._event("function_call_arguments.done", **place, name=item["name"], arguments=item["arguments"]),
            self._done(item),
        ]

    def _place(self, content_index: int = 0) -> dict[str, Any]:
        item = f"msg_{self.head.run_id}"
        return {"item_id": item, "output_index": len(self._output), "content_index": content_index}

    def _added(self, item: Item) -> Data:
        return self._event("output_item.added", output_index=len(self._output), item=item)

    def _done(self, item: Item) -> Data:
        event = self._event("output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        return event

    def _event(self, kind: str, **values: Any) -> Data:
        event = {"type": f"response.{kind}", "sequence_number": self._number, **values}
        self._number += 1
        return event
