"""The real attempt on a real database, with a model faked on the wire. Each executor can be cut off at any moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from flowyard.durable.attempt import Attempt, AttemptParts
from flowyard.durable.clock import DatabaseClock
from flowyard.durable.journal import Journal
from flowyard.durable.observer import Observer
from flowyard.durable.writer import RunWriter
from flowyard.graph.compile import Graphs
from flowyard.llm.models import Models
from flowyard.runs.claim import Claim
from flowyard.runs.entries import StoredEvent
from flowyard.runs.events import ModelCalled
from flowyard.runs.run import Entry, Run
from flowyard.service.documents import Documents
from flowyard.steps.call_limits import LocalLimits
from flowyard.storage.commits import Committer
from flowyard.storage.lost_calls import LostCalls
from support.stored import LEASE_S, Stored
from support.wire.behaviour import Behaviour, Hang, Held, Status, Text
from support.wire.openai import openai_server
from support.wire.server import Request, sent_key
from support.workflows import load

KEY: Final = "MODEL_API_KEY"
"""The variable of each executor that says which model the server is to be for it."""

Answer = Callable[[Request], Awaitable[str | Behaviour]]


@dataclass
class WireModel:
    """Answers with the node's name, or by `answers`, and counts. `hold`: nodes whose calls are never answered."""

    answers: dict[str, Answer] = field(default_factory=dict)
    hold: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    prompts: list[str] = field(default_factory=list)
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a call of a node on hold has arrived."""

    async def behave(self, request: Request) -> Behaviour:
        node = node_of(request)
        self.calls[node] += 1
        self.prompts.append(request.body["messages"][-1]["content"])
        if node in self.hold:
            self.holding.set()
            return Hang()
        answer = self.answers.get(node)
        reply = await answer(request) if answer is not None else node
        return Text(reply, tokens_in=1, tokens_out=1) if isinstance(reply, str) else reply


def node_of(request: Request) -> str:
    """From the idempotency key, `run:node:visit`."""
    return request.headers["idempotency-key"].split(":")[1]


def failing(times: int) -> Answer:
    """Answers of which the first ones are errors that a retry may help against."""
    failed = 0

    async def answer(request: Request) -> str | Behaviour:
        nonlocal failed
        failed += 1
        return Status(500) if failed <= times else node_of(request)

    return answer


def failing_every_other_time() -> Answer:
    """Answers of which each second one is right."""
    calls = 0

    async def answer(request: Request) -> str | Behaviour:
        nonlocal calls
        calls += 1
        return Status(500) if calls % 2 else node_of(request)

    return answer


def held(until: asyncio.Event) -> Answer:
    """The node's name, when the event is set."""

    async def answer(request: Request) -> str | Behaviour:
        return Held(Text(node_of(request)), until)

    return answer


class _Watching(Observer):
    def __init__(self) -> None:
        self.announced: list[Entry] = []
        self.is_fenced = asyncio.Event()
        self.lost: list[ModelCalled] = []
        self.replayed_rows = 0

    def replayed(self, claim: Claim, rows: int) -> None:
        self.replayed_rows += rows

    def committed(self, claim: Claim, events: Sequence[StoredEvent]) -> None:
        self.announced += [stored.entry for stored in events]

    def calls_lost(self, claim: Claim, calls: Sequence[ModelCalled]) -> None:
        self.lost += calls

    def fenced(self, claim: Claim) -> None:
        self.is_fenced.set()


class MiniExecutor:
    """One process: it makes attempts, one at a time. `crash` ends it as `kill -9` would: nothing more is written."""

    def __init__(self, stored: Stored, model: WireModel, models: Models) -> None:
        self.stored = stored
        self.model = model
        self.watching = _Watching()
        self.committer = Committer(stored.database, lease_s=LEASE_S)
        self.committing = asyncio.create_task(self.committer.run())
        self.draining = asyncio.Event()
        self.attempts: list[Attempt] = []
        self.parts = AttemptParts(
            executor="one",
            committer=self.committer,
            history=stored.history,
            lost_calls=LostCalls(stored.database),
            documents=Documents(stored.workflows),
            graphs=Graphs(),
            models=models,
            clock=DatabaseClock(),
            observer=self.watching,
            draining=self.draining,
            daily_limit=lambda _workflow: None,
            call_limits=lambda _workflow: LocalLimits(),
            is_followed=lambda _run_id: False,
            long_wait_s=30.0,
            box=None,
        )

    @property
    def announced(self) -> list[Entry]:
        return self.watching.announced

    async def take(self) -> Claim:
        [claim] = await self.stored.claims.take("one", 1)
        return claim

    def start(self, claim: Claim) -> Attempt:
        attempt = Attempt(claim, self.parts)
        self.attempts.append(attempt)
        attempt.start()
        return attempt

    async def run(self) -> Run | None:
        """Takes a run and brings it to its end, or to where it is handed back: then None."""
        claim = await self.take()
        attempt = self.start(claim)
        assert attempt.task is not None
        await attempt.task
        run = await self.stored.runs.get(claim.run_id)
        return None if run.is_open else run

    def journal(self, claim: Claim) -> Journal:
        """Of a claim that is not attempted."""
        writer = RunWriter(
            claim,
            self.committer,
            now=lambda: datetime.now(UTC),
            on_committed=lambda events: self.watching.committed(claim, events),
            on_lost=lambda: self.watching.fenced(claim),
            on_cancel=lambda: None,
        )
        return Journal(claim, writer, on_token=lambda _token: None)

    async def crash(self) -> None:
        await self._end(self.committing)
        for attempt in self.attempts:
            await self._end(attempt.task)
            # It may have begun to write, or be about to, while it ended.
            attempt._journal.writer._stop_timer()
            await self._end(attempt._journal.writer._writing)

    async def _end(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=1)


class Attempts:
    """`url`: the server that answers for all models."""

    def __init__(self, stored: Stored, stack: AsyncExitStack) -> None:
        self.stored = stored
        self.url = ""
        self.executors: list[MiniExecutor] = []
        self._stack = stack

    def executor(self, model: WireModel | None = None) -> MiniExecutor:
        models = Models({KEY: str(len(self.executors))}, None, self._stack)
        self.executors.append(MiniExecutor(self.stored, model or WireModel(), models))
        return self.executors[-1]

    async def submit(self, text: str, inputs: Mapping[str, object] | None = None, **about: Any) -> UUID:
        """A queued run of a document; `provider: scripted` in it becomes the model of whoever executes it.

        `about`: as for `new_run`.
        """
        model = f"{{provider: hosted_vllm, model: m, api_base: '{self.url}', api_key_env: {KEY}}}"
        document = text.replace("{provider: scripted}", model)
        workflow = load(document)
        await self.stored.workflows.apply(
            workflow.name, digest=workflow.digest, document=document, concurrency=None, priority=0
        )
        return await self.stored.run(workflow.name, inputs=inputs or {}, **about)

    async def time_to_wake(self) -> None:
        """All waits are over."""
        await self.stored.database.execute("UPDATE steps SET wake_at = now() WHERE wake_at IS NOT NULL")
        await self.stored.database.execute("UPDATE runs SET wake_at = now() WHERE status = 'waiting'")
        await self.stored.moves.sweep()

    async def lose_executor(self, run_id: UUID) -> None:
        """The run's executor is dead, and its lease over: the run is queued again."""
        await self.stored.expire(run_id)
        await self.stored.moves.sweep()

    async def behave(self, request: Request) -> Behaviour:
        return await self.executors[int(sent_key(request))].model.behave(request)


@asynccontextmanager
async def open_attempts(stored: Stored) -> AsyncIterator[Attempts]:
    async with AsyncExitStack() as stack:
        attempts = Attempts(stored, stack)
        server = await stack.enter_async_context(openai_server(attempts.behave))
        attempts.url = server.url
        try:
            yield attempts
        finally:
            for executor in attempts.executors:
                await executor.crash()
