"""Reports what attempts do: on the bus, in the metrics, in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunEvents, WorkQueued
from flowyard.durable.observer import Observer
from flowyard.errors.steps import BudgetExceeded
from flowyard.runs.claim import Claim
from flowyard.runs.entries import ENDINGS, StoredEvent
from flowyard.runs.events import ModelCalled, RunFinished, StepFailed, StepFinished, Token
from flowyard.telemetry.metrics import Metrics
from flowyard_executor.followers import Followers
from flowyard_executor.mismatches import Mismatches
from flowyard_executor.step_log import log_steps

_MOVES: Final = frozenset({*ENDINGS, "run.queued", "run.waiting"})

log = logging.getLogger(__name__)


class RunReporter(Observer):
    """Publishes, counts and logs what the attempts of this executor do. `executor`: its name."""

    def __init__(  # by keyword: one per process
        self, executor: str, *, bus: Bus, followers: Followers, metrics: Metrics, mismatches: Mismatches
    ) -> None:
        self._executor = executor
        self._bus = bus
        self._followers = followers
        self._tokens = followers.tokens
        self._metrics = metrics
        self._mismatches = mismatches

    def started(self, claim: Claim) -> None:
        log.debug("run started", extra={**_facts(claim), "attempt": claim.attempt, "executor": self._executor})

    def replayed(self, claim: Claim, rows: int) -> None:
        self._metrics.executor.replayed.inc(rows)

    def mismatched(self, claim: Claim) -> None:
        self._mismatches.add()

    def committed(self, claim: Claim, events: Sequence[StoredEvent]) -> None:
        # Streams end with the run's last event: tokens that came after it would be lost.
        self._tokens.flush(claim.run_id)
        for stored in events:
            if isinstance(stored.event, StepFinished | StepFailed):
                self._tokens.end_step(claim.run_id, stored.event.step)
        self._metrics.models.count(events)
        last, has_moved = events[-1].entry, any(stored.entry.type in _MOVES for stored in events)
        if has_moved or self._followers.follow_events(claim.run_id):
            self._bus.publish(RunEvents(run_id=claim.run_id, last_seq=last.seq, has_moved=has_moved))
        log_steps(claim.run_id, events)

    def token(self, claim: Claim, token: Token) -> None:
        self._tokens.add(claim.run_id, claim.epoch, token)

    def budget_refused(self, claim: Claim, error: BudgetExceeded) -> None:
        limit = error.limit if error.per == "run" else f"daily_{error.limit}"
        self._metrics.runs.budget_refusals.labels(claim.workflow, limit).inc()

    def handed_back(self, claim: Claim, *, waits: bool) -> None:
        self._tokens.end_run(claim.run_id)
        if not waits:
            self._bus.publish(WorkQueued())
        log.info("run handed back", extra=_facts(claim))

    def finished(self, claim: Claim, end: RunFinished) -> None:
        self._tokens.end_run(claim.run_id)
        metrics, code = self._metrics.runs, end.error.code if end.error is not None else None
        metrics.finished.labels(claim.workflow, end.status).inc()
        metrics.duration.labels(claim.workflow, end.status).observe(end.duration_s)
        if code is not None:
            metrics.failures.labels(claim.workflow, code).inc()
        facts = {**_facts(claim), "duration_s": round(end.duration_s, 3)}
        log.info("run %s", end.status, extra={**facts, "code": code} if code is not None else facts)

    def calls_lost(self, claim: Claim, calls: Sequence[ModelCalled]) -> None:
        for call in calls:
            self._metrics.models.count_call(call)
        log.warning("added calls of a lost claim to the ledger", extra={**_facts(claim), "calls": len(calls)})

    def fenced(self, claim: Claim) -> None:
        self._metrics.executor.fenced.inc()

    def abandoned(self, claim: Claim) -> None:
        self._tokens.end_run(claim.run_id)
        log.warning("claim lost: another executor has the run", extra=_facts(claim))


def _facts(claim: Claim) -> dict[str, object]:
    return {"run_id": str(claim.run_id), "workflow": claim.workflow, "epoch": claim.epoch}
