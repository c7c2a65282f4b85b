"""An error → the failure that events and rows record."""

from __future__ import annotations

from flowyard.errors import FlowyardError
from flowyard.runs.events import Failure
from flowyard.step_errors import InvalidOutput


def failure_of(error: FlowyardError, node: str) -> Failure:
    return Failure(error.code, str(error), node, error.reply if isinstance(error, InvalidOutput) else None)
