"""Counts model calls as their events report them."""

from __future__ import annotations

from collections.abc import Iterable

from flowyard.runs.entries import StoredEvent
from flowyard.runs.events import ModelCalled
from flowyard.telemetry.metrics import ModelMetrics


def count_calls(events: Iterable[StoredEvent], metrics: ModelMetrics) -> None:
    """Adds the calls that have ended among these events."""
    for stored in events:
        if isinstance(stored.event, ModelCalled):
            count_call(stored.event, metrics)


def count_call(call: ModelCalled, metrics: ModelMetrics) -> None:
    if call.retries:
        metrics.retried(call.provider, call.model)
    if call.error is not None:
        metrics.failed(
            call.provider,
            call.model,
            code=call.error.code,
            tokens_in=call.tokens_in,
            tokens_out=call.tokens_out,
            cost_usd=call.cost_usd,
        )
        return
    metrics.answered(
        call.provider,
        call.model,
        duration_s=call.duration_s,
        tokens_in=call.tokens_in,
        tokens_out=call.tokens_out,
        tokens_cached=call.tokens_cached,
        first_token_s=call.first_token_s,
        cost_usd=call.cost_usd,
    )
