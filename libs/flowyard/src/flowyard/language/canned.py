"""Canned replies of models, in a document's tests and in files of replies."""

from __future__ import annotations

import json
from typing import Final

from flowyard.language.problems import suggest
from flowyard.language.workflow import ErrorReply, Reply

REPLY_ERRORS: Final = (
    "rate_limited", "timeout", "provider_error", "model_refused", "reply_cut_off", "refused", "filtered",
    "invalid_output",
)  # fmt: skip


def read_reply(value: object) -> Reply | tuple[Reply, ...]:
    """Canned replies from a YAML or JSON value: a list has a reply per call, any other value answers every call.

    A text is itself, `{error: code}` becomes an ErrorReply, and other values become JSON. Raises ValueError.
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
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)
