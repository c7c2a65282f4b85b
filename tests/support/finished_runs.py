"""Finished runs that never ran: a test gives their events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from flowyard.export.finished_run import FinishedRun
from flowyard.language.load import load_text
from flowyard.runs.call_texts import CallTexts
from flowyard.runs.entries import encoded
from flowyard.runs.events import Event, Failure, ModelCalled, StepFinished, StepId
from flowyard.runs.run import Entry, Run, Spending
from flowyard.storage.rows import CallRow

BEGIN: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
ORIGIN: Final = UUID("01890a5d-0000-774b-bcce-b302099a8057")
Moment = tuple[float, Event | str] | tuple[float, str, Mapping[str, Any]]
"""At which second, what: an event of the engine, or the type of another entry, maybe with its data."""


def finished_run(
    *moments: Moment,
    document: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    status: Any = "succeeded",
    error: Failure | None = None,
    forked_from: UUID | None = None,
) -> FinishedRun:
    entries = [_entry(number, *moment) for number, moment in enumerate(moments, 1)]
    pairs = [(entry, moment[1]) for entry, moment in zip(entries, moments, strict=True)]
    calls = [CallRow.of(event, seq=entry.seq, at=entry.at) for entry, event in pairs if isinstance(event, ModelCalled)]
    end = entries[-1].at if entries else BEGIN
    workflow = load_text(document, "test").workflow if document is not None else None
    assert document is None or workflow is not None
    costs = [call.cost_usd for call in calls]
    tokens = [[call.tokens_in for call in calls], [call.tokens_out for call in calls]]
    spending = Spending(len(calls), _sum(tokens[0]), _sum(tokens[1]), _sum(costs, Decimal(0)))
    run = Run(
        id=RUN,
        workflow="test",
        revision=3,
        digest="d1ge57",
        status=status,
        priority=0,
        attempt=1,
        created_at=BEGIN,
        started_at=BEGIN + timedelta(seconds=0.5),
        finished_at=end,
        wake_at=None,
        cancel_requested=False,
        executor=None,
        worked_s=1.0,
        last_seq=len(entries),
        inputs=inputs or {},
        outputs={"poem": "rain"},
        error=error,
        spending=spending,
        forked_from=forked_from,
    )
    return FinishedRun(run, end, entries, calls, workflow, "an-installation")


def called(step: StepId, *, seconds: float = 1.0, cost: str | None = "0.1", **about: Any) -> ModelCalled:
    usual: dict[str, Any] = {
        "provider": "openai",
        "model": "gpt",
        "first_token_s": None,
        "tokens_in": 10,
        "tokens_out": 5,
        "tokens_cached": None,
        "cost_usd": Decimal(cost) if cost is not None else None,
    }
    return ModelCalled(step, duration_s=seconds, **{**usual, **about})


def finished(step: StepId, cost: str | None = "0.1", **outputs: Any) -> StepFinished:
    return StepFinished(step, 1.0, outputs, 1, 10, 5, Decimal(cost) if cost is not None else None)


def _entry(seq: int, at: float, event: Event | str, data: Mapping[str, Any] | None = None) -> Entry:
    kind, content = (event, data or {}) if isinstance(event, str) else encoded(event)
    said = CallTexts.of(event) if isinstance(event, ModelCalled) else None
    # As the reader of finished runs puts them together.
    return Entry(seq, BEGIN + timedelta(seconds=at), kind, {**content, **(said.data if said is not None else {})})


def _sum(values: list[Any], start: Any = 0) -> Any:
    return None if None in values else sum(values, start)
