"""An executor in miniature: claims one run, drives it, and can be cut off anywhere."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from flowyard.errors import ClaimLost
from flowyard.graph.compile import Compiled, Graphs
from flowyard.graph.context import RunContext
from flowyard.graph.durable import Durable, GiveBack
from flowyard.graph.journal import Journal
from flowyard.graph.outputs import RunOutputs
from flowyard.graph.run import RunResult, drive
from flowyard.graph.saver import Saver
from flowyard.language.inputs import valid_inputs
from flowyard.llm.calls import ModelCall, ModelReply, OnToken, Usage
from flowyard.runs.claim import Claim
from flowyard.runs.events import RunClaimed, RunFinished, RunQueued, RunWaiting, StepId
from flowyard.runs.run import Entry
from flowyard.steps.context import StepContext
from flowyard.storage.commits import Committer
from support.stored import LEASE_S, Stored
from support.workflows import load

Answer = Callable[[ModelCall], Awaitable[str]]


@dataclass
class Asked:
    """A model that answers with the node's name unless told otherwise, and counts. `hold`: nodes that never answer."""

    answers: dict[str, Answer] = field(default_factory=dict)
    hold: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    prompts: list[str] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """A call of a node on hold has come in."""

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        self.calls[call.node] += 1
        self.prompts.append(call.messages[-1].content)
        if call.node in self.hold:
            self.came.set()
            await asyncio.Event().wait()
        answer = self.answers.get(call.node)
        return ModelReply(await answer(call) if answer else call.node, Usage(1, 1, 0), None)


class Engine:
    """One process. `crash` ends it as `kill -9` would: nothing that it says from then on is written."""

    def __init__(self, stored: Stored, model: Asked) -> None:
        self.stored = stored
        self.model = model
        self.saver = Saver(stored.checkpoints)
        self.graphs = Graphs(saver=self.saver)
        self.committer = Committer(stored.database, lease_s=LEASE_S)
        self.committing = asyncio.create_task(self.committer.run())
        self.draining = asyncio.Event()
        self.journals: list[Journal] = []
        self.announced: list[Entry] = []
        self.lost = asyncio.Event()
        self.at_work: asyncio.Task[RunResult | None] | None = None

    async def take(self) -> Claim:
        [claim] = await self.stored.claims.take("one", 1)
        return claim

    async def run(self) -> RunResult | None:
        """Takes a run and brings it to its end, or to where it is given back: then None."""
        return await self.go(await self.take())

    def start(self, claim: Claim) -> asyncio.Task[RunResult | None]:
        self.at_work = asyncio.create_task(self.go(claim))
        return self.at_work

    async def go(self, claim: Claim) -> RunResult | None:
        compiled = self.graphs.get(load(await self.stored.workflows.document(claim.definition)))
        journal = self.journal(claim)
        journal.keep = compiled.workflow.execution.durability != "exit"
        self.saver.journals[str(claim.run_id)] = journal
        journal.emit(RunClaimed(claim.attempt, "one"))
        try:
            result = await self._drive(claim, compiled, journal)
        except GiveBack as back:
            await self._give_back(claim, journal, back)
            return None
        finally:
            del self.saver.journals[str(claim.run_id)]
        await journal.finish(RunFinished(result.status, 0.0, result.outputs, result.error))
        return result

    def journal(self, claim: Claim) -> Journal:
        journal = Journal(
            claim,
            self.committer,
            now=lambda: datetime.now(UTC),
            announce=lambda events: self.announced.extend(event.entry for event in events),
            stream=lambda _token: None,
            on_lost=self.lost.set,
            on_cancel=lambda: None,
        )
        self.journals.append(journal)
        return journal

    async def _drive(self, claim: Claim, compiled: Compiled, journal: Journal) -> RunResult:
        steps = await self.stored.history.steps(claim.run_id)
        recorded = {StepId(s.node, s.visit, s.item): s for s in steps if s.status != "failed" or s.handled != "fail"}
        head = await self.saver.values_of(str(claim.run_id), compiled.plan.merging)
        start = compiled.plan.start(valid_inputs(compiled.workflow, claim.inputs)) if head is None else None
        waits = compiled.workflow.execution.durability == "sync"
        recorder = Durable(journal, recorded, self.draining, waits_for_commits=waits, long_wait_s=30.0)
        outputs = RunOutputs(start or head or {}, compiled.plan.merging)
        for step in recorded if head else ():
            fields = [o.field for o in compiled.workflow.nodes[step.node].outputs]
            if step.node in compiled.plan.maps:
                fields = [compiled.plan.maps[step.node].collect_field]
            outputs.values |= {name: (head or {}).get(name) for name in fields}
        given = StepContext(
            run_id=str(claim.run_id),
            model=self.model,
            recorder=recorder,
            stream=False,
            chance=lambda: 0.0,
            clock=time.perf_counter,
        )
        context = RunContext(given, outputs)
        return await drive(compiled, start, context, run_id=str(claim.run_id), timeout_s=None)

    async def _give_back(self, claim: Claim, journal: Journal, back: GiveBack) -> None:
        claims = self.stored.claims
        if back.step is not None:
            journal.waiting_step(back.step, back.error)
        event = RunQueued("drained") if back.seconds is None else RunWaiting(back.seconds)
        entries, seq = await journal.close(event)
        if back.seconds is None:
            kept = await claims.hand_back(claim.run_id, claim.epoch, entries=entries, last_seq=seq)
        else:
            kept = await claims.suspend(claim.run_id, claim.epoch, entries=entries, last_seq=seq, seconds=back.seconds)
        if not kept:
            raise ClaimLost(str(claim.run_id), epoch=claim.epoch)
        journal.given_back()

    async def crash(self) -> None:
        self.committing.cancel()
        for task in (self.committing, self.at_work, *(journal._writing for journal in self.journals)):
            if task is not None:
                task.cancel()
                await asyncio.wait([task], timeout=1)


Engines = Callable[[Asked], Engine]


async def submitted(stored: Stored, text: str, inputs: Mapping[str, object] | None = None) -> UUID:
    """A run of a document."""
    workflow = load(text)
    await stored.workflows.apply(workflow.name, digest=workflow.digest, document=text, concurrency=None, priority=0)
    return await stored.run(workflow.name, inputs=inputs or {})


async def orphan(stored: Stored, run_id: UUID) -> None:
    """Its executor is dead, and somebody has noticed."""
    await stored.expire(run_id)
    await stored.moves.sweep()
