"""Canned replies, as a document's tests and files of replies write them."""

from __future__ import annotations

import json
from typing import Any, Final

from flowyard.language.problems import suggest
from flowyard.language.workflow import ErrorReply, Reply

REPLY_ERRORS: Final = ("rate_limited", "timeout", "provider_error", "model_refused", "invalid_output")


def read_reply(value: object) -> Reply | tuple[Reply, ...]:
    """A YAML or JSON value as canned replies: a list is one reply per call, everything else answers every call.

    Text stays as it is, `{error: code}` becomes an ErrorReply, other values become JSON text. Raises ValueError.
    """
    if not isinstance(value, list):
        return _read_one(value)
    if not value:
        raise ValueError("an empty list of replies")
    return tuple(_read_one(each) for each in value)


def _read_one(value: object) -> Reply:
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError('an empty reply: write "" if the model shall answer nothing')
    if isinstance(value, dict) and value.keys() == {"error"} and _is_code(value["error"]):
        return ErrorReply(_known_code(value["error"]))
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_code(value: Any) -> bool:
    """Whether `{error: value}` is meant as a failure: an output may be called `error` too."""
    return isinstance(value, str) and value.isidentifier()


def _known_code(code: str) -> str:
    if code in REPLY_ERRORS:
        return code
    raise ValueError(f"no error code '{code}' ({suggest(code, REPLY_ERRORS, 'error codes')})")
