"""An executor without an engine: it claims runs, and then does and records just what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunEvents, RunFollowed, RunTokens
from flowyard.runs.call_texts import CallTexts
from flowyard.runs.claim import Claim
from flowyard.runs.entries import failure_data
from flowyard.runs.events import Failure, StepId
from flowyard.runs.run import Entry
from flowyard.storage.claims import Claims
from flowyard.storage.commits import Committer, RunCommit
from flowyard.storage.database import Database, dumps
from flowyard.storage.packing import packed
from support.rows import call_row, step_row
from support.waiting import eventually


class Hands:
    """`silent`: what it commits is not announced, as if NATS had lost the message."""

    def __init__(self, database: Database, bus: Bus, committer: Committer) -> None:
        self.silent = False
        self._database = database
        self._claims = Claims(database, lease_s=60)
        self._bus = bus
        self.committer = committer
        self._seqs: dict[UUID, int] = {}
        self._streamed: set[UUID] = set()

    async def take(self) -> Claim:
        """The next queued run, as soon as there is one."""
        claim: Claim
        [claim] = await eventually(lambda: self._claims.take("hands", 1))
        self._seqs[claim.run_id] = claim.last_seq
        return claim

    async def append(self, claim: Claim, kind: str, **data: Any) -> None:
        """An event."""
        await self._commit(self._begun(claim), claim, [(kind, data)])

    async def step(self, claim: Claim, node: str, outputs: Mapping[str, Any], *, visit: int = 1) -> None:
        """A step begins, and in a second commit it succeeds."""
        place = {"node": node, "visit": visit}
        await self.append(claim, "step.started", **place)
        commit = self._begun(claim)
        seq = self._seqs[claim.run_id] + 1
        about = {"started_at": datetime.now(UTC), "duration_s": 0.1, "outputs": outputs}
        commit.add_step(step_row(seq, StepId(node, visit), **about))
        sums = {"duration_s": 0.1, "calls": 0, "tokens_in": 0, "tokens_out": 0, "cost_usd": "0"}
        await self._commit(commit, claim, [("step.finished", {**place, **sums, "outputs": dict(outputs)})])

    async def call(self, claim: Claim, node: str, texts: CallTexts | None) -> int:
        """A step makes a call, which ends well. `texts`: what is kept of it. Returns the number of its event."""
        commit = self._begun(claim)
        seq = self._seqs[claim.run_id] + 1
        commit.add_call(call_row(seq, node, texts=dumps(texts.data) if texts is not None else None))
        called = {"provider": "openai", "model": "small", "duration_s": 0.5, "tokens_in": 10, "tokens_out": 5}
        await self._commit(commit, claim, [("model.called", {"node": node, "visit": 1, **called, "cost_usd": None})])
        return seq

    async def leave_in_a_call(self, claim: Claim, node: str, *, provider: str, model: str) -> None:
        """A step makes a call, and the executor dies in the middle of it: its lease is over."""
        await self.append(claim, "step.started", node=node, visit=1)
        commit = self._begun(claim)
        used: dict[str, Any] = {"tokens_in": None, "tokens_out": None}
        commit.add_call(call_row(1, node, provider=provider, model=model, status="reserved", **used))
        call = {"provider": provider, "model": model, "tokens": None, "usd": None}
        await self._commit(commit, claim, [("model.reserved", {"node": node, "visit": 1, **call})])
        expired = "UPDATE claims SET lease_until = now() - interval '1 s' WHERE run_id = $1"
        await self._database.execute(expired, claim.run_id)

    async def receive(self, message: RunFollowed) -> None:
        # Published so only after the subscription to the tokens.
        if message.tokens and message.from_start:
            self._streamed.add(message.run_id)

    async def followed(self, claim: Claim) -> None:
        """Returns when somebody reads the run's tokens: those before are lost."""
        await eventually(lambda: claim.run_id in self._streamed)

    def say(self, claim: Claim, node: str, text: str, *, call: int = 0) -> None:
        """A token. A greater `call`: of another try."""
        self._bus.publish(RunTokens(run_id=claim.run_id, epoch=claim.epoch, node=node, visit=1, call=call, text=text))

    async def succeed(self, claim: Claim, outputs: Mapping[str, Any]) -> None:
        commit = self._begun(claim)
        commit.status, commit.outputs = "succeeded", dumps(dict(outputs))
        await self._commit(commit, claim, [("run.succeeded", {"duration_s": 0.1, "outputs": dict(outputs)})])

    async def fail(self, claim: Claim, failure: Failure) -> None:
        commit = self._begun(claim)
        commit.status, commit.outputs, commit.error = "failed", "{}", dumps(failure_data(failure))
        await self._commit(commit, claim, [("run.failed", {"duration_s": 0.1, "error": failure_data(failure)})])

    async def give_up(self, claim: Claim) -> None:
        """The run ends because somebody has cancelled it."""
        commit = self._begun(claim)
        commit.status, commit.outputs = "cancelled", "{}"
        await self._commit(commit, claim, [("run.cancelled", {"duration_s": 0.1, "outputs": {}})])

    def _begun(self, claim: Claim) -> RunCommit:
        return RunCommit(claim.run_id, claim.epoch, self._seqs[claim.run_id])

    async def _commit(self, commit: RunCommit, claim: Claim, events: list[tuple[str, dict[str, Any]]]) -> None:
        entries = []
        for kind, data in events:
            commit.last_seq += 1
            entries.append(Entry(commit.last_seq, datetime.now(UTC), kind, data))
        self._seqs[claim.run_id] = commit.last_seq
        commit.entries = packed(entries)
        await self.committer.commit(commit)
        if not self.silent:
            has_moved = any(entry.type.startswith("run.") for entry in entries)
            self._bus.publish(RunEvents(run_id=claim.run_id, last_seq=commit.last_seq, has_moved=has_moved))


@asynccontextmanager
async def working_hands(database: Database, bus: Bus) -> AsyncIterator[Hands]:
    committer = Committer(database, lease_s=60)
    hands = Hands(database, bus, committer)
    running = asyncio.create_task(committer.run())
    try:
        async with bus.subscribe(subjects.ANY_RUN_FOLLOWED, RunFollowed, hands.receive):
            yield hands
    finally:
        running.cancel()
        await asyncio.wait({running})
