"""Logs a run's steps and model calls, at debug, without their contents."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never
from uuid import UUID

from flowyard.runs import events
from flowyard.runs.entries import StoredEvent

log = logging.getLogger(__name__)

_FACTS: Final = (
    "node", "visit", "item", "attempt", "delay_s", "provider", "model", "duration_s", "first_token_s", "tokens_in",
    "tokens_out", "tokens_cached", "cost_usd", "limit", "retries", "handled", "tool",
)  # fmt: skip


def log_steps(run_id: UUID, stored_events: Iterable[StoredEvent]) -> None:
    """At debug only: the run's events, which anybody may read, say the same and more."""
    if not log.isEnabledFor(logging.DEBUG):
        return
    for stored in stored_events:
        match stored.event:
            case (
                events.StepStarted()
                | events.RetryScheduled()
                | events.StepFinished()
                | events.StepFailed()
                | events.ModelWaiting()
                | events.ModelReserved()
                | events.ModelCalled()
                | events.ToolCalled()
            ):
                entry = stored.entry
                log.debug("%s", entry.type.replace(".", " "), extra={"run_id": run_id, **_facts(entry.data)})
            case (
                events.RunQueued()
                | events.RunForked()
                | events.RunClaimed()
                | events.RunWaiting()
                | events.RunStarted()
            ):
                pass
            case events.RunFinished() | events.RouteTaken() | events.LoopTurned() | events.Token():
                pass
            case events.ToolProgressed() | events.CodePrinted():
                # What tools say and code prints is content, as replies are.
                pass
            case _:
                assert_never(stored.event)


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: data[name] for name in _FACTS if name in data}
    # The class of an error, not its message: that may quote what a model has said.
    return facts | ({"code": error["code"]} if (error := data.get("error")) else {})
