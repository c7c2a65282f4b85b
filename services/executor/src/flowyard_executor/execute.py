"""One claimed run, from the claim to its end, or to where it is given back."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from flowyard.bus.messages import RunEvents, WorkQueued
from flowyard.errors import ClaimLost, FlowyardError
from flowyard.graph.compile import Compiled
from flowyard.graph.context import RunContext
from flowyard.graph.durable import Durable, GiveBack
from flowyard.graph.journal import Journal
from flowyard.graph.outputs import RunOutputs
from flowyard.graph.run import RunResult, drive
from flowyard.graph.state import Update
from flowyard.language.inputs import valid_inputs
from flowyard.language.workflow import Workflow
from flowyard.runs.entries import StoredEvent, decode_all
from flowyard.runs.events import Failure, RunClaimed, RunFinished, RunQueued, RunWaiting, Status, StepId
from flowyard.runs.open_calls import OpenCalls
from flowyard.runs.run import Step
from flowyard.step_errors import ModelError
from flowyard.steps.context import StepContext
from flowyard.steps.vault import SealedVault
from flowyard.telemetry.logs import is_about_run
from flowyard.telemetry.model_calls import count_calls
from flowyard_executor.parts import ExecutorParts, Running
from flowyard_executor.patience import patiently
from flowyard_executor.spending import open_budget_gate
from flowyard_executor.step_log import log_steps

log = logging.getLogger(__name__)

MOST_TOLD: Final = 100_000
"""Events of a run that are looked through for what its last executor left open."""


class Attempt:
    """What an executor does with one claim."""

    def __init__(self, running: Running, parts: ExecutorParts) -> None:
        self.running = running
        self.claim = running.claim
        self.parts = parts
        self.workflow: Workflow | None = None
        self.outputs = RunOutputs({}, {})
        self.journal = Journal(
            self.claim,
            parts.committer,
            now=parts.clock.now,
            announce=self._announce,
            stream=partial(parts.tokens.add, self.claim.run_id, self.claim.epoch),
            on_lost=self._lost,
            on_cancel=partial(running.stop, "cancelled"),
        )

    async def run(self) -> None:
        """Never raises: what goes wrong is the run's end, or a line in the log."""
        claim, journals = self.claim, self.parts.saver.journals
        is_about_run(claim.run_id)
        journals[str(claim.run_id)] = self.journal
        me = self.parts.settings.executor_name
        log.info("run started", extra={**self._about(), "attempt": claim.attempt, "executor": me})
        self.journal.emit(RunClaimed(claim.attempt, me))
        try:
            await self._to_its_end()
        except (ClaimLost, asyncio.CancelledError):
            # Nobody has a use for it any more: the run is somebody else's, or the process ends.
            self._log_loss()
        except Exception:
            # The worker's loop: a bug ends this run and no other.
            log.exception("a bug ended a run", extra={"run_id": str(claim.run_id), "workflow": claim.workflow})
            with suppress(ClaimLost):
                await self._finish(self._ended("failed", Failure("internal_error", "a bug: see the executor's log")))
        finally:
            journals.pop(str(claim.run_id), None)

    async def _to_its_end(self) -> None:
        try:
            result = await self._result()
        except GiveBack as back:
            await self._give_back(back)
        except asyncio.CancelledError:
            if self.running.stopped == "cancelled":
                await self._finish(self._ended("cancelled", None))
            elif self.running.stopped == "drained":
                await self._give_back(GiveBack())
            else:
                raise
        else:
            await self._finish(result)

    async def _result(self) -> RunResult:
        if self.claim.cancel_requested:
            return self._ended("cancelled", None)
        try:
            claim = self.claim
            workflow = await patiently(lambda: self.parts.documents.get(claim.workflow, claim.definition, claim.digest))
            self.workflow = workflow
            return await self._drive(self.parts.graphs.get(workflow))
        except ClaimLost:
            raise
        except FlowyardError as error:
            return self._ended("failed", Failure(error.code, str(error)))

    async def _drive(self, compiled: Compiled) -> RunResult:
        parts, workflow = self.parts, compiled.workflow
        keeps = workflow.execution.durability != "exit"
        self.journal.keep = keeps
        recorded = await patiently(self._recorded) if self.claim.has_steps else {}
        if self.claim.epoch > 1:
            self.journal.called_before(await patiently(lambda: parts.history.calls(self.claim.run_id)))
        budget_gate = await open_budget_gate(workflow, self.claim, self.journal, parts)
        if self.claim.attempt > 1 and workflow.budget is None:
            await patiently(self._add_lost_calls)
        start = await patiently(lambda: self._start(compiled, recorded.values()))
        recorder = Durable(
            self.journal,
            recorded,
            parts.draining,
            waits_for_commits=workflow.execution.durability == "sync",
            long_wait_s=parts.settings.long_wait_s if keeps else math.inf,
        )
        steps = StepContext(
            run_id=str(self.claim.run_id),
            model=parts.models,
            recorder=recorder,
            stream=parts.settings.stream_tokens,
            chance=random.random,
            clock=time.perf_counter,
            budget_gate=budget_gate,
            vault=self._vault(workflow),
        )
        context = RunContext(steps, self.outputs)
        # What can't be opened now is told by the step that needs it, which may have a fallback.
        with suppress(ModelError):
            await parts.models.prepare(workflow.models)
        return await drive(compiled, start, context, run_id=str(self.claim.run_id), timeout_s=self._seconds_left())

    def _vault(self, workflow: Workflow) -> SealedVault:
        """Raises SecretsNotConfigured, UnreadableSecret: before anything has cost something."""
        vault = SealedVault(workflow.name, self.parts.box)
        for name in workflow.secrets:
            vault.open(name, str(self.claim.inputs.get(name, "")))
        return vault

    async def _recorded(self) -> dict[StepId, Step]:
        steps = await self.parts.history.steps(self.claim.run_id)
        # The step that a run failed with is what a retry is for.
        return {StepId(s.node, s.visit, s.item): s for s in steps if s.status != "failed" or s.handled != "fail"}

    async def _add_lost_calls(self) -> None:
        """The calls that the last executor had made when it died. With a budget, `open_spending` adds them."""
        calls = OpenCalls()
        for event in decode_all(await self.parts.history.entries(self.claim.run_id, most=MOST_TOLD)):
            calls.add(event.event)
        for call in calls.lost():
            self.journal.emit(call)

    async def _start(self, compiled: Compiled, steps: Iterable[Step]) -> Update | None:
        """The first state, or None to go on from the run's head."""
        plan, workflow = compiled.plan, compiled.workflow
        head = await self.parts.saver.values_of(str(self.claim.run_id), plan.merging)
        if head is None:
            start = plan.start(valid_inputs(workflow, self.claim.inputs))
            self.outputs = RunOutputs(start, plan.merging)
            return start
        self.outputs = RunOutputs(head, plan.merging)
        self.outputs.values = {name: head.get(name) for name in _fields_of(workflow, steps)}
        return None

    async def _give_back(self, back: GiveBack) -> None:
        claim, parts = self.claim, self.parts
        self.running.ending = True
        if back.step is not None:
            self.journal.waiting_step(back.step, back.error)
        if back.seconds is None:
            entry, seq = await self.journal.close(RunQueued("drained"))
            kept = await patiently(
                lambda: parts.claims.hand_back(claim.run_id, claim.epoch, entries=entry, last_seq=seq)
            )
        else:
            seconds, node = back.seconds, back.step.node if back.step is not None else None
            entry, seq = await self.journal.close(RunWaiting(seconds, node=node))
            kept = await patiently(
                lambda: parts.claims.suspend(claim.run_id, claim.epoch, entries=entry, last_seq=seq, seconds=seconds)
            )
        if not kept:
            raise ClaimLost(str(claim.run_id), epoch=claim.epoch)
        self.journal.given_back()
        if back.seconds is None:
            parts.bus.publish(WorkQueued())
        log.info("run given back", extra={"run_id": str(claim.run_id), "workflow": claim.workflow})

    async def _finish(self, result: RunResult) -> None:
        claim, metrics = self.claim, self.parts.metrics.runs
        self.running.ending = True
        duration = (self.parts.clock.now() - claim.started_at).total_seconds()
        ending = await self.journal.finish(RunFinished(result.status, duration, result.outputs, result.error))
        metrics.finished.labels(claim.workflow, ending.status).inc()
        metrics.duration.labels(claim.workflow, ending.status).observe(duration)
        if ending.error is not None:
            metrics.failures.labels(claim.workflow, ending.error.code).inc()
        told = {"code": ending.error.code} if ending.error is not None else {}
        log.info(
            "run %s",
            ending.status,
            extra={"run_id": str(claim.run_id), "workflow": claim.workflow, "duration_s": round(duration, 3), **told},
        )

    def _ended(self, status: Status, error: Failure | None) -> RunResult:
        outputs = self.outputs.of(self.workflow) if self.workflow is not None else {}
        return RunResult(str(self.claim.run_id), status, outputs, error)

    def _seconds_left(self) -> float | None:
        if self.claim.left_s is None:
            return None
        return max(0.0, self.claim.left_s - (self.parts.clock.now() - self.claim.at).total_seconds())

    def _announce(self, events: Sequence[StoredEvent]) -> None:
        run = self.claim.run_id
        # Streams end with the run's last event: tokens that came after it would be lost.
        self.parts.tokens.flush(run)
        count_calls(events, self.parts.metrics.models)
        entries = tuple(stored.entry for stored in events)
        self.parts.bus.publish(RunEvents(run_id=run, epoch=self.claim.epoch, entries=entries))
        log_steps(run, events)

    def _lost(self) -> None:
        self.parts.metrics.executor.fenced.inc()
        self.running.stop("lost")

    def _log_loss(self) -> None:
        if self.running.stopped == "lost":
            log.warning("claim lost: the run is somebody else's", extra=self._about())

    def _about(self) -> dict[str, object]:
        return {"run_id": str(self.claim.run_id), "workflow": self.claim.workflow, "epoch": self.claim.epoch}


def _fields_of(workflow: Workflow, steps: Iterable[Step]) -> set[str]:
    """The fields that steps of these nodes have written."""
    ran = {step.node for step in steps if step.status == "succeeded"}
    maps = workflow.maps
    written = {o.field for name in ran & workflow.nodes.keys() - maps.keys() for o in workflow.nodes[name].outputs}
    return written | {maps[name].collect_field for name in ran & maps.keys()}
