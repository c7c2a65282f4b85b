"""Messages of a conversation, as in OpenAI's chat format: checks one, and brings it into the form in which it is kept.

Format: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from flowyard.language.problems import suggest
from flowyard.language.values.types import ANY, STR, ListOf, Nullable, ObjectOf, Type, type_of

ROLES: Final = ("system", "user", "assistant", "tool")
FIELD_TYPES: Final[Mapping[str, Type]] = {
    "role": STR,
    "content": ANY,
    "name": STR,
    "tool_calls": Nullable(ListOf(ObjectOf())),
    "tool_call_id": STR,
}
Report: TypeAlias = Callable[[tuple[str | int, ...], str], None]
"""Receives a problem, and the steps from the message to its place."""

_PARTS: Final = ("text", "image_url", "file", "input_audio")
_DETAILS: Final = ("auto", "low", "high")
_IMAGE: Final = re.compile(r"https?://|data:image/", re.IGNORECASE)
_SHOWN: Final = 60


def read_message(given: Mapping[Any, Any], report: Report) -> dict[str, Any]:
    """The message with the keys that it has by its role, in one form of the several that clients send.

    `developer` becomes `system`, and a list of texts one text. `tool_calls` of an assistant is null where there are
    none. Unknown keys are left out: clients send back whatever a server has added to its answers.
    """
    return _Reader(given, report).message()


@dataclass(frozen=True, slots=True)
class _Reader:
    given: Mapping[Any, Any]
    report: Report

    def message(self) -> dict[str, Any]:
        role = self.role()
        message: dict[str, Any] = {"role": role, "content": self.content(role)}
        if self.given.get("name") is not None:
            message["name"] = self.text(self.given, ("name",))
        if role == "assistant":
            calls = self.given.get("tool_calls") or None
            message["tool_calls"] = self.calls(calls) if calls is not None else None
        if role == "tool":
            message["tool_call_id"] = self.text(self.given, ("tool_call_id",))
        return message

    def role(self) -> str:
        role = self.text(self.given, ("role",))
        if role == "developer":
            return "system"
        if role and role not in ROLES:
            self.report(("role",), f"no role '{_cut(role)}' ({suggest(role, ROLES, 'roles')})")
        return role

    def content(self, role: str) -> Any:
        given = self.given.get("content")
        match given:
            case str():
                return given
            case [_, *_]:
                return self.parts(given, role)
            case []:
                self.report(("content",), "has no parts")
            case None if role == "assistant" and isinstance(self.given.get("refusal"), str):
                return self.given["refusal"]
            case None if role == "assistant" and self.given.get("tool_calls"):
                pass
            case None:
                self.report(("content",), "missing")
            case _:
                self.report(("content",), f"expected a text or a list of parts, got {type_of(given)}")
        return None

    def parts(self, given: list[Any], role: str) -> Any:
        """The parts; those that are only text as one text."""
        parts = [self.part(part, i, role) for i, part in enumerate(given)]
        if all(part["type"] == "text" for part in parts):
            return "\n".join(part["text"] for part in parts)
        return parts

    def part(self, given: Any, index: int, role: str) -> dict[str, Any]:
        at = ("content", index)
        if not isinstance(given, Mapping):
            self.report(at, f"expected a part such as {{type: text, text: …}}, got {type_of(given)}")
            return _NO_PART
        kind = self.text(given, (*at, "type"))
        if kind == "text":
            return {"type": "text", "text": self.text(given, (*at, "text"))}
        if kind == "refusal":
            return {"type": "text", "text": self.text(given, (*at, "refusal"))}
        if kind not in _PARTS:
            if kind:
                self.report((*at, "type"), f"no part of type '{_cut(kind)}' ({suggest(kind, _PARTS, 'types')})")
            return _NO_PART
        if role != "user":
            self.report((*at, "type"), f"'{kind}' can only be in messages of the user")
            return _NO_PART
        return {"type": kind, kind: self.payload(given.get(kind, ...), kind, (*at, kind))}

    def payload(self, given: Any, kind: str, at: tuple[str | int, ...]) -> dict[str, Any]:
        if kind == "image_url" and isinstance(given, str):
            # As some clients write it.
            given = {"url": given}
        if not isinstance(given, Mapping):
            self.report(at, "missing" if given is ... else f"expected object, got {type_of(given)}")
            return {}
        match kind:
            case "image_url":
                return self.image(given, at)
            case "file":
                return self.file(given, at)
            case _:
                return {name: self.text(given, (*at, name)) for name in ("data", "format")}

    def image(self, given: Mapping[Any, Any], at: tuple[str | int, ...]) -> dict[str, Any]:
        image = {"url": self.text(given, (*at, "url"))}
        if image["url"] and not _IMAGE.match(image["url"]):
            self.report((*at, "url"), "expected https://… or data:image/…")
        if given.get("detail") is not None:
            image["detail"] = self.text(given, (*at, "detail"))
            if image["detail"] not in _DETAILS:
                self.report((*at, "detail"), f"no such detail ({', '.join(_DETAILS)})")
        return image

    def file(self, given: Mapping[Any, Any], at: tuple[str | int, ...]) -> dict[str, Any]:
        if "file_data" not in given and given.get("file_id") is not None:
            # What is stored there is for all who use the account of the installation.
            self.report((*at, "file_id"), "files at the provider can't be used: send the file itself in file_data")
            return {}
        file = {"file_data": self.text(given, (*at, "file_data"))}
        if given.get("filename") is not None:
            file["filename"] = self.text(given, (*at, "filename"))
        return file

    def calls(self, given: Any) -> list[dict[str, Any]]:
        if not isinstance(given, list):
            self.report(("tool_calls",), f"expected list, got {type_of(given)}")
            return []
        return [self.call(call, ("tool_calls", i)) for i, call in enumerate(given)]

    def call(self, given: Any, at: tuple[str | int, ...]) -> dict[str, Any]:
        if not isinstance(given, Mapping):
            self.report(at, f"expected object, got {type_of(given)}")
            return {}
        if given.get("type", "function") != "function":
            self.report((*at, "type"), "only calls of type 'function' are known")
        function = given.get("function", ...)
        if not isinstance(function, Mapping):
            self.report(
                (*at, "function"), "missing" if function is ... else f"expected object, got {type_of(function)}"
            )
            return {}
        arguments = function.get("arguments", "")
        if isinstance(arguments, Mapping):
            # As some servers write it.
            arguments = self.encoded(arguments, (*at, "function", "arguments"))
        elif not isinstance(arguments, str):
            self.report((*at, "function", "arguments"), f"expected the text of a JSON object, got {type_of(arguments)}")
        name = self.text(function, (*at, "function", "name"))
        return {
            "id": self.text(given, (*at, "id")),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }

    def encoded(self, arguments: Mapping[Any, Any], at: tuple[str | int, ...]) -> str:
        try:
            return json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            self.report(at, "can't be stored as JSON")
            return ""

    def text(self, given: Mapping[Any, Any], at: tuple[str | int, ...]) -> str:
        """The text under the last of the steps `at`; "" if there is none, which is reported."""
        value = given.get(at[-1], ...)
        if isinstance(value, str):
            return value
        self.report(at, "missing" if value is ... else f"expected str, got {type_of(value)}")
        return ""


_NO_PART: Final[dict[str, Any]] = {"type": "text", "text": ""}
"""In the place of a part that was reported."""


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
