"""The input of a request of the responses API, as messages of the chat API.

Format: https://www.openresponses.org/specification
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from flowyard.language.values.messages import read_message
from flowyard.openai_api.requests import Message, Messages

_MESSAGE: Final = "message"
_ROLES: Final = ("user", "assistant", "system", "developer")
_TEXTS: Final = ("input_text", "output_text", "text")
_NO_PART: Final[Mapping[str, Any]] = {"type": "text", "text": ""}
"""In the place of a part that was reported."""


@dataclass(slots=True)
class InputItems:
    """The messages of an input, and what is wrong with it: `where` in the request, and a `message`."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    _places: list[str] = field(default_factory=list)
    """Where in the request each message begins."""

    @classmethod
    def read(cls, given: str | Sequence[Any]) -> InputItems:
        """A text is a message of the user. Items that belong to one answer, a text and calls, are one message."""
        items = cls()
        if isinstance(given, str):
            items._add("body.input", {"role": "user", "content": given})
        else:
            for i, item in enumerate(given):
                items._item(item, f"body.input[{i}]")
        if not items.problems:
            items._check()
        return items

    def _item(self, item: Any, where: str) -> None:
        if not isinstance(item, Mapping):
            self._report(where, "expected an item, such as a message")
            return
        match item.get("type", _MESSAGE):
            case "message":
                self._message(item, where)
            case "function_call":
                self._call(item, where)
            case "function_call_output":
                content = self._content(item.get("output"), f"{where}.output")
                self._add(where, {"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
            case "reasoning":
                # What a model has thought is no part of its answer.
                pass
            case "item_reference" if str(item.get("id")).startswith("rs_"):
                # So is what was thought before.
                pass
            case "item_reference":
                self._report(where, "no such item of this model is stored for this key: send the item itself")
            case other:
                self._report(f"{where}.type", f"items of type '{_short(other)}' aren't supported")

    def _message(self, item: Mapping[str, Any], where: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            self._report(f"{where}.role", f"expected one of {', '.join(_ROLES)}")
            return
        content = self._content(item.get("content"), f"{where}.content")
        self._add(where, {"role": role, "content": content})

    def _call(self, item: Mapping[str, Any], where: str) -> None:
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        if self.messages and self.messages[-1]["role"] == "assistant":
            self.messages[-1].setdefault("tool_calls", []).append(call)
        else:
            self._add(where, {"role": "assistant", "content": None, "tool_calls": [call]})

    def _content(self, given: Any, where: str) -> Any:
        if isinstance(given, str):
            return given
        if not isinstance(given, list) or not given:
            self._report(where, "expected a text, or a list of parts")
            return ""
        return [self._part(part, f"{where}[{i}]") for i, part in enumerate(given)]

    def _part(self, part: Any, where: str) -> Mapping[str, Any]:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXTS:
            return {"type": "text", "text": part.get("text")}
        match kind:
            case "refusal":
                return {"type": "refusal", "refusal": part.get("refusal")}
            case "input_image" if isinstance(part.get("image_url"), str):
                detail = {"detail": part["detail"]} if part.get("detail") is not None else {}
                return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
            case "input_file" if isinstance(part.get("file_data"), str):
                name = {"filename": part["filename"]} if part.get("filename") is not None else {}
                return {"type": "file", "file": {"file_data": part["file_data"], **name}}
            case "input_image":
                self._report(where, "send the image in image_url: images stored elsewhere can't be used")
            case "input_file":
                self._report(where, "send the file in file_data: files stored elsewhere can't be used")
            case _:
                self._report(where, "expected a part: input_text, output_text, refusal, input_image or input_file")
        return _NO_PART

    def _add(self, where: str, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self._places.append(where)

    def _check(self) -> None:
        """Reports what messages can't be, with its place in the input."""
        for message, where in zip(self.messages, self._places, strict=True):
            read_message(message, partial(self._report_in, where))

    def _report_in(self, where: str, steps: Sequence[str | int], text: str) -> None:
        self._report(where, f"{'.'.join(map(str, steps))}: {text}")

    def _report(self, where: str, message: str) -> None:
        self.problems.append({"where": where, "message": message})


def _short(value: Any) -> str:
    return str(value)[:60]


def continued(earlier: Messages, new: Messages, *, dropped: str | None, instructions: str | None) -> list[Message]:
    """A conversation with new messages. `instructions` come first, and replace `dropped`, those of the turn before."""
    has_old = bool(earlier) and dropped is not None and dict(earlier[0]) == {"role": "system", "content": dropped}
    return [*with_instructions((), instructions), *earlier[has_old:], *new]


def with_instructions(messages: Messages, instructions: str | None) -> list[Message]:
    return [*([{"role": "system", "content": instructions}] if instructions is not None else []), *messages]
