"""A run's steps and model calls as log lines, at debug. Never what is in them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never
from uuid import UUID

from flowyard.runs.entries import StoredEvent
from flowyard.runs.events import (
    LoopTurned,
    ModelCalled,
    ModelReserved,
    RetryScheduled,
    RouteTaken,
    RunClaimed,
    RunFinished,
    RunQueued,
    RunStarted,
    RunWaiting,
    StepFailed,
    StepFinished,
    StepStarted,
    Token,
)

log = logging.getLogger(__name__)

_FACTS: Final = (
    "node", "visit", "item", "attempt", "delay_s", "provider", "model", "duration_s", "first_token_s", "tokens_in",
    "tokens_out", "tokens_cached", "cost_usd", "retries", "handled",
)  # fmt: skip


def log_steps(run_id: UUID, events: Iterable[StoredEvent]) -> None:
    """At debug only: the run's events, which anybody may read, say the same and more."""
    if not log.isEnabledFor(logging.DEBUG):
        return
    for stored in events:
        match stored.event:
            case StepStarted() | RetryScheduled() | StepFinished() | StepFailed() | ModelReserved() | ModelCalled():
                entry = stored.entry
                log.debug("%s", entry.type.replace(".", " "), extra={"run_id": run_id, **_facts(entry.data)})
            case RunQueued() | RunClaimed() | RunWaiting() | RunStarted() | RunFinished():
                pass
            case RouteTaken() | LoopTurned() | Token():
                pass
            case _:
                assert_never(stored.event)


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: data[name] for name in _FACTS if name in data}
    # The class of an error, not its message: that may quote what a model has said.
    return facts | ({"code": error["code"]} if (error := data.get("error")) else {})
