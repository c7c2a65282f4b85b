"""One claimed run, from the claim to its end, or to where it is handed back."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from flowyard.durable.clock import DatabaseClock
from flowyard.durable.journal import Journal
from flowyard.durable.observer import Observer
from flowyard.durable.patience import patiently
from flowyard.durable.recorder import DurableRecorder, HandBack, StepWait
from flowyard.durable.resuming import ended_steps, lost_calls, new_snapshot, open_steps, spent_before
from flowyard.durable.writer import RunWriter
from flowyard.errors.base import FlowyardError
from flowyard.errors.runs import ClaimLost, ReplayMismatch
from flowyard.errors.steps import ModelError
from flowyard.graph.compile import Compiled, Graphs
from flowyard.graph.marking import Marking, no_changes
from flowyard.graph.run import RunResult, drive
from flowyard.graph.walk import Walk
from flowyard.language.inputs import are_large, valid_inputs
from flowyard.language.tools import NO_RULES, ToolRules
from flowyard.language.workflow import Workflow
from flowyard.large_json import decoded, encoded_each
from flowyard.llm.models import Models
from flowyard.runs.budget import Amount, BudgetAccount
from flowyard.runs.claim import Claim
from flowyard.runs.events import Failure, RunClaimed, RunFinished, RunQueued, RunWaiting, Status
from flowyard.runs.open_calls import lost_call
from flowyard.secrets.sealing import SecretBox
from flowyard.service.documents import Documents
from flowyard.steps.budget_gate import BudgetGate, DailyLimit
from flowyard.steps.call_limits import CallLimits
from flowyard.steps.code_runner import RunCode, no_sandbox
from flowyard.steps.context import CheckDocuments, SizeLimits, StepContext, no_checks
from flowyard.steps.vault import SealedVault
from flowyard.storage.commits import Committer
from flowyard.storage.history import History
from flowyard.storage.lost_calls import LostCalls
from flowyard.telemetry.logs import bind_run
from flowyard.tools.registry import ToolRegistry

log = logging.getLogger(__name__)

StopReason: TypeAlias = Literal["cancelled", "failed", "lost", "drained"]
"""`cancelled`, `failed`: the run is to end so; `lost`: the claim was lost or abandoned; `drained`: the
executor stops."""
_LARGE_STATE: Final = 1_000_000
"""Bytes, as JSON: a larger state is freed as soon as its run has ended."""
_BUG: Final = Failure("internal_error", "a bug: see the executor's log")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptParts:
    """What attempts need. One per process. `daily_limit`: the daily budget of a workflow; None if it has none.
    `call_limits`: of a workflow.

    `is_followed`: whether somebody reads the tokens of a run. `long_wait_s`: a step that waits longer between two tries
    hands its run back. `sizes`: of what steps write. `box`: opens secret inputs; None if no key is configured.
    `tools`: what nodes may call; `tool_rules`: what the installation says of them.
    `check_documents`: of outputs with `format: workflow`; without it, none of them is accepted.
    `run_code`: executes that of code nodes.
    `replays`: bounds how many runs are replayed at a time. `may_replay`: whether any may be; otherwise those of which
    steps are recorded are handed back.
    """

    executor: str
    committer: Committer
    history: History
    lost_calls: LostCalls
    documents: Documents
    graphs: Graphs
    models: Models
    clock: DatabaseClock
    observer: Observer
    draining: asyncio.Event
    daily_limit: Callable[[str], DailyLimit | None]
    call_limits: Callable[[str], CallLimits]
    is_followed: Callable[[UUID], bool]
    log_prompts: bool = False
    sizes: SizeLimits = field(default_factory=SizeLimits)
    long_wait_s: float
    check_documents: CheckDocuments = no_checks
    tools: ToolRegistry = field(default_factory=ToolRegistry)
    tool_rules: ToolRules = NO_RULES
    run_code: RunCode = no_sandbox
    may_replay: Callable[[], bool] = lambda: True
    replays: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    box: SecretBox | None = field(repr=False)


class Attempt:
    """What an executor does with one claim of a run, until the run ends or is handed back."""

    def __init__(self, claim: Claim, parts: AttemptParts) -> None:
        self.claim = claim
        self.parts = parts
        self.task: asyncio.Task[None] | None = None
        self.is_ending = False
        """Whether the last commit of this claim is under way: too late to stop."""
        self._stopped: StopReason | None = None
        self._failure: Failure | None = None
        self._leaving = asyncio.Event()
        self._walk: Walk | None = None
        self._journal = Journal(
            claim,
            RunWriter(
                claim,
                parts.committer,
                now=parts.clock.now,
                on_committed=partial(parts.observer.committed, claim),
                on_lost=self._fenced,
                on_cancel=partial(self.stop, "cancelled"),
            ),
            on_token=partial(parts.observer.token, claim),
        )

    def start(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self.run(), name=f"run {self.claim.run_id}")
        return self.task

    def stop(self, why: StopReason) -> None:
        if self._stopped is None and not self.is_ending and self.task is not None:
            self._stopped = why
            self.task.cancel()

    @property
    def durable_seq(self) -> int:
        """The number of its last event that is on disk."""
        return self._journal.writer.durable_seq

    @property
    def can_be_stopped(self) -> bool:
        return self._stopped is None and not self.is_ending

    def renewed(self, requested_at: float) -> None:
        """To be called after a renewal. `requested_at`: when its statement was sent, by the monotonic clock."""
        self._journal.writer.renewed(requested_at)

    def leave(self) -> None:
        """Hands the run back before its next step, as when the executor drains."""
        self._leaving.set()

    def fail(self, failure: Failure) -> None:
        """Aborts the run's steps, and ends it as failed with this error."""
        if self.can_be_stopped:
            self._failure = failure
            self.stop("failed")

    async def run(self) -> None:
        """Executes the run until it ends or is handed back. Never raises: an error ends the run, or is logged."""
        claim = self.claim
        bind_run(claim.run_id)
        self.parts.observer.started(claim)
        self._journal.append(RunClaimed(claim.attempt, self.parts.executor))
        try:
            await self._run()
        except (ClaimLost, asyncio.CancelledError):
            # There is nothing to write: another executor has the run, or this process stops.
            if self._stopped == "lost":
                self.parts.observer.abandoned(claim)
        except Exception:
            # The worker's loop: a bug ends this run and no other.
            log.exception("a run failed: a bug", extra={"run_id": str(claim.run_id), "workflow": claim.workflow})
            with suppress(ClaimLost):
                await self._finish(self._ended("failed", _BUG))
        if self._stopped == "lost" or self._journal.writer.is_lost:
            await self._record_lost_calls()
        if self._walk is not None and self._walk.sizes.total > _LARGE_STATE:
            # It is a part of cycles: it would stay until there is a full garbage collection, which would take long.
            for _ in self._walk.marking.forget():
                await asyncio.sleep(0)

    async def _run(self) -> None:
        try:
            result = await self._result()
        except HandBack as back:
            await self._hand_back(*back.waits, at_once=back.at_once)
        except asyncio.CancelledError:
            if self._stopped == "cancelled":
                await self._finish(self._ended("cancelled", None))
            elif self._stopped == "failed":
                await self._finish(self._ended("failed", self._failure))
            elif self._stopped == "drained":
                await self._hand_back()
            else:
                raise
        else:
            await self._finish(result)

    async def _result(self) -> RunResult:
        """How the run has ended. Raises HandBack, ClaimLost."""
        claim, parts = self.claim, self.parts
        if claim.cancel_requested:
            return self._ended("cancelled", None)
        try:
            workflow = await patiently(lambda: parts.documents.get(claim.workflow, claim.definition, claim.digest))
            return await self._drive(await parts.graphs.get(workflow))
        except ClaimLost:
            raise
        except FlowyardError as error:
            return self._ended("failed", Failure(error.code, str(error)))

    async def _drive(self, compiled: Compiled) -> RunResult:
        claim, parts, workflow = self.claim, self.parts, compiled.workflow
        durability = workflow.execution.durability
        if durability == "exit":
            self._journal.writer.commit_only_at_end()
        begun = await open_steps(parts.history, claim)
        lost, has_budget = lost_calls(begun), workflow.budget is not None
        spent = await spent_before(parts.history, claim, has_lost_calls=bool(lost)) if has_budget else Amount()
        for call in lost:
            self._journal.lose_call(call)
        given = await decoded(claim.inputs)
        check = partial(valid_inputs, workflow, given)
        inputs = await asyncio.to_thread(check) if are_large(given) else check()
        marking = Marking(compiled.plan, inputs, claim.fork.changes_before if claim.fork is not None else no_changes)
        steps = StepContext(
            run_id=str(claim.run_id),
            model=parts.models,
            recorder=DurableRecorder(
                self._journal,
                open_steps={step.id: step for step, _ in begun},
                calls={step.id: calls for step, calls in begun},
                read_parts=lambda step: patiently(lambda: parts.history.parts(claim.run_id, step)),
                draining=(parts.draining, self._leaving),
                may_replay=parts.may_replay,
                waits_for_commits=durability == "sync",
                long_wait_s=math.inf if durability == "exit" else parts.long_wait_s,
            ),
            streams=partial(parts.is_followed, claim.run_id),
            log_prompts=parts.log_prompts,
            sizes=parts.sizes,
            check_documents=parts.check_documents,
            tools=parts.tools,
            tool_rules=parts.tool_rules,
            run_code=parts.run_code,
            now=parts.clock.now,
            chance=random.random,
            clock=time.perf_counter,
            budget_gate=self._budget_gate(workflow, spent),
            limits=parts.call_limits(claim.workflow),
            engine=claim.engine,
            vault=self._vault(workflow, inputs),
        )
        # A model that can't be opened now fails the step that needs it, which may have a fallback.
        with suppress(ModelError):
            await parts.models.prepare(workflow.models)
        self._walk = Walk(compiled.plan, marking, steps)
        on_page = partial(parts.observer.replayed, claim)
        ended = ended_steps(parts.history, claim, marking, at_once=parts.replays, on_page=on_page)
        result = await drive(compiled, self._walk, ended, timeout_s=self._seconds_left())
        if result.error is not None and result.error.code == ReplayMismatch.code:
            # Counted before others are replayed, and not when it is durable.
            parts.observer.mismatched(claim)
        return result

    def _budget_gate(self, workflow: Workflow, spent: Amount) -> BudgetGate | None:
        """None if neither the run nor its workflow's day is limited."""
        parts, day = self.parts, self.parts.daily_limit(self.claim.workflow)
        if workflow.budget is None and day is None:
            return None
        account = BudgetAccount(workflow.budget, spent) if workflow.budget is not None else None
        if account is not None:
            self._journal.writer.spent = lambda: account.settled
        return BudgetGate(
            workflow.budget,
            parts.models.terms,
            account=account,
            day=day,
            is_draining=lambda: parts.draining.is_set() or self._leaving.is_set(),
            on_refusal=partial(parts.observer.budget_refused, self.claim),
        )

    def _vault(self, workflow: Workflow, inputs: Mapping[str, Any]) -> SealedVault:
        """Raises SecretsNotConfigured, UnreadableSecret: before any call is paid."""
        vault = SealedVault(workflow.name, self.parts.box)
        for name in workflow.secrets:
            vault.open(name, str(inputs.get(name, "")))
        return vault

    async def _hand_back(self, *waits: StepWait, at_once: bool = True) -> None:
        """Ends the claim, so that the run continues in another one: at once, or after the first of its steps' waits.

        Raises ClaimLost.
        """
        claim, walk = self.claim, self._walk
        self.is_ending = True
        for wait in waits:
            self._journal.wait(wait.step, wait.error, wait.seconds)
        event = RunQueued("drained") if at_once else RunWaiting(waits[0].seconds, node=waits[0].step.node)
        snapshot = await new_snapshot(walk, claim, self._journal.settled) if walk is not None else None
        await self._journal.hand_back(event, snapshot)
        self.parts.observer.handed_back(claim, waits=not at_once)

    async def _finish(self, result: RunResult) -> None:
        self.is_ending = True
        duration = (self.parts.clock.now() - self.claim.started_at).total_seconds()
        outputs = await encoded_each(result.outputs)
        end = await self._journal.finish(RunFinished(result.status, duration, outputs, result.error))
        self.parts.observer.finished(self.claim, end)

    async def _record_lost_calls(self) -> None:
        """Adds unwritten calls to the ledger: only this process knows them. Those on disk, the next executor knows."""
        claim, calls = self.claim, await self._journal.unwritten_calls()
        if not calls:
            return
        added = await patiently(lambda: self.parts.lost_calls.add(claim.run_id, claim.epoch, calls))
        rows = [call.row for call in added]
        lost = [replace(lost_call(row.step, row.provider, row.model), retries=row.retries) for row in rows]
        self.parts.observer.calls_lost(claim, lost)

    def _ended(self, status: Status, error: Failure | None) -> RunResult:
        outputs = self._walk.marking.outputs() if self._walk is not None else {}
        return RunResult(str(self.claim.run_id), status, outputs, error)

    def _seconds_left(self) -> float | None:
        """Until the run's own timeout."""
        if self.claim.left_s is None:
            return None
        return max(0.0, self.claim.left_s - (self.parts.clock.now() - self.claim.at).total_seconds())

    def _fenced(self) -> None:
        self.parts.observer.fenced(self.claim)
        self.stop("lost")
