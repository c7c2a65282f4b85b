"""An error → the failure that events and rows record."""

from __future__ import annotations

from flowyard.errors.base import FlowyardError
from flowyard.errors.steps import InvalidOutput, UnusableReply
from flowyard.runs.events import Failure


def failure_of(error: FlowyardError, node: str) -> Failure:
    match error:
        case InvalidOutput():
            reply: str | None = error.reply
        case UnusableReply():
            reply = error.reply or None
        case _:
            reply = None
    return Failure(error.code, str(error), node, reply)
