"""An error → the failure that events and rows record."""

from __future__ import annotations

from flowyard.errors.base import FlowyardError
from flowyard.errors.steps import InvalidOutput, UnusableReply
from flowyard.runs.events import Failure


def failure_of(error: FlowyardError, node: str) -> Failure:
    reply = error.reply or None if isinstance(error, UnusableReply) else None
    return Failure(error.code, str(error), node, error.reply if isinstance(error, InvalidOutput) else reply)
