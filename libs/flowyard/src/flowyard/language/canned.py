"""Canned replies of models, in a document's tests and in files of replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.problems import suggest
from flowyard.language.workflow import ErrorReply, Reply, ToolReply

REPLY_ERRORS: Final = (
    "rate_limited", "timeout", "provider_error", "model_refused", "reply_cut_off", "refused", "filtered",
    "content_refused",
    "invalid_output",
)  # fmt: skip


def read_reply(value: object) -> Reply | tuple[Reply, ...]:
    """Canned replies from a YAML or JSON value: a list has a reply per call, any other value answers every call.

    A text is itself, `{error: code}` becomes an ErrorReply, `{tool_calls: [{name, arguments}], text}` a ToolReply, and
    other values become JSON. Raises ValueError.
    """
    if not isinstance(value, list):
        return _read_reply(value)
    if not value:
        raise ValueError("the list of replies is empty")
    return tuple(_read_reply(reply) for reply in value)


def _read_reply(value: object) -> Reply:
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError('the reply is empty: write "" for an empty text')
    match value:
        # Anything else under `error` is an output with this name.
        case {"error": str(code), **others} if not others and code.isidentifier():
            if code not in REPLY_ERRORS:
                raise ValueError(f"no error code '{code}' ({suggest(code, REPLY_ERRORS, 'error codes')})")
            return ErrorReply(code)
        case {"tool_calls": [_, *_] as calls, **others} if others.keys() <= {"text"}:
            return ToolReply(_text_with(others), tuple(_read_call(call, i) for i, call in enumerate(calls, start=1)))
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)


def _text_with(others: Mapping[Any, Any]) -> str:
    text = others.get("text", "")
    if isinstance(text, str):
        return text
    raise ValueError("'text' with 'tool_calls' must be text")


def _read_call(value: object, number: int) -> Mapping[str, Any]:
    match value:
        case {"name": str(name), **others} if name and others.keys() <= {"id", "arguments"}:
            arguments, id_ = others.get("arguments", {}), others.get("id", f"call_{number}")
            if isinstance(arguments, Mapping) and isinstance(id_, str):
                text = json.dumps(arguments, ensure_ascii=False, default=str)
                return {"id": id_, "type": "function", "function": {"name": name, "arguments": text}}
    raise ValueError(f"call {number} of 'tool_calls' must be {{name: …, arguments: {{…}}}}")
