"""An error → the failure that events and rows record."""

from __future__ import annotations

from typing import Final

from flowyard.errors.base import FlowyardError
from flowyard.errors.steps import InvalidOutput, UnusableReply
from flowyard.runs.events import Failure

_MAX_REPLY: Final = 10_000
"""Characters of a reply that are recorded with the failure. A list may have thousands of failures."""


def failure_of(error: FlowyardError, node: str) -> Failure:
    match error:
        case InvalidOutput():
            reply: str | None = error.reply
        case UnusableReply():
            reply = error.reply or None
        case _:
            reply = None
    return Failure(error.code, _shortened(str(error)), node, _shortened(reply) if reply is not None else None)


def _shortened(text: str) -> str:
    cut = len(text) - _MAX_REPLY
    return f"{text[:_MAX_REPLY]}… ({cut:,} more characters)" if cut > 0 else text
