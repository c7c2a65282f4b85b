"""A database with workflows and runs in it, and every store that knows of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from flowyard.runs.claim import Claim
from flowyard.runs.run import Entry
from flowyard.storage.claims import Claims
from flowyard.storage.commits import Committer, RunCommit
from flowyard.storage.database import Database, dumps, open_database
from flowyard.storage.history import History
from flowyard.storage.moves import Moves
from flowyard.storage.packing import packed
from flowyard.storage.queue import QueueMeasures
from flowyard.storage.retention import Retention
from flowyard.storage.runs import Runs
from flowyard.storage.tables import metadata
from flowyard.storage.workflows import Revision, Workflows
from support.queued import new_run

LEASE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Stored:
    """The stores, and the shortest ways to what a test begins with."""

    database: Database
    runs: Runs
    queue: QueueMeasures
    claims: Claims
    moves: Moves
    history: History
    retention: Retention
    workflows: Workflows
    committer: Committer

    async def workflow(
        self, name: str = "test", *, concurrency: int | None = None, priority: int = 0, document: str = "flow: {}"
    ) -> Revision:
        digest = hashlib.sha256(f"{name} {document}".encode()).hexdigest()
        revision, _ = await self.workflows.apply(
            name, digest=digest, document=document, concurrency=concurrency, priority=priority
        )
        return revision

    async def run(self, workflow: str = "test", *, steps_before: int | None = None, **about: Any) -> UUID:
        """A queued run of a workflow, which is made if it isn't there. `about`: as for `new_run`."""
        if not await self.database.value("SELECT count(*) FROM workflows WHERE name = $1", workflow):
            await self.workflow(workflow)
        run = new_run(await self.workflows.head(workflow), **about)
        return (await self.runs.add(run, steps_before=steps_before))[0]

    async def claimed(self, workflow: str = "test", *, executor: str = "one", **about: Any) -> Claim:
        """A run that has just been submitted, and claimed."""
        run_id = await self.run(workflow, **about)
        [claim] = await self.claims.take(executor, 1)
        assert claim.run_id == run_id
        return claim

    async def finish(self, claim: Claim, status: str = "succeeded", *, seq: int | None = None) -> None:
        """`seq`: of its last event; the one after the claim's unless others were committed since."""
        commit = ending(claim, status, seq=seq or claim.last_seq + 1)
        await self.committer.commit(commit)

    async def hand_back(self, claim: Claim, seconds: float | None = None, *, seq: int | None = None) -> None:
        """For another claim, at once or after so many seconds. `seq`: as for `finish`."""
        await self.committer.commit(handing_back(claim, seconds, seq=seq))

    async def expire(self, run_id: UUID) -> None:
        """As if its lease had been over for a second."""
        await self.database.execute("UPDATE claims SET lease_until = now() - interval '1 s' WHERE run_id = $1", run_id)

    async def entries(self, run_id: UUID) -> list[Entry]:
        return await self.history.entries(run_id)

    async def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        return {t: await self.database.value(f"SELECT count(*) FROM {t}") for t in metadata.tables}

    async def everything(self) -> dict[str, list[str]]:
        """Every row of every table, as text."""
        return {
            t: [row[0] for row in await self.database.rows(f"SELECT t::text FROM {t} t ORDER BY 1")]
            for t in metadata.tables
        }


@asynccontextmanager
async def open_stored(url: str, *, lease_s: float = LEASE_S, **settings: Any) -> AsyncIterator[Stored]:
    """With a committer at work. `settings` are those of `open_database`."""
    async with open_database(url, service="test", **settings) as database:
        committer = Committer(database, lease_s=lease_s)
        at_work = asyncio.create_task(committer.run())
        try:
            yield Stored(
                database,
                Runs(database),
                QueueMeasures(database),
                Claims(database, lease_s=lease_s),
                Moves(database),
                History(database),
                Retention(database),
                Workflows(database),
                committer,
            )
        finally:
            at_work.cancel()
            with suppress(asyncio.CancelledError):
                await at_work


LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)


def entries_json(first: int, *types: str) -> str:
    """Events as a commit carries them, numbered from `first`."""
    data = {"step.started": {"node": "a", "visit": 1}}
    return packed([Entry(seq, LONG_AGO, kind, data.get(kind, {})) for seq, kind in enumerate(types, first)])


def commit_of(claim: Claim, kind: str = "step.started", *, seq: int | None = None) -> RunCommit:
    """A commit with one event. `seq`: its number; the one after the claim's if nothing was committed since."""
    seq = seq or claim.last_seq + 1
    return RunCommit(claim.run_id, claim.epoch, seq, entries=entries_json(seq, kind))


def handing_back(claim: Claim, seconds: float | None = None, *, seq: int | None = None) -> RunCommit:
    status = "queued" if seconds is None else "waiting"
    commit = commit_of(claim, f"run.{status}", seq=seq)
    commit.status, commit.wait_s, commit.snapshot = status, seconds, "{}"
    return commit


def ending(claim: Claim, status: str = "succeeded", *, seq: int | None = None) -> RunCommit:
    commit = commit_of(claim, f"run.{status}", seq=seq)
    commit.status, commit.outputs = status, "{}"
    if status == "failed":
        commit.error = dumps({"code": "test", "message": "a test wants it so"})
    return commit


async def claims_of(stored: Stored, count: int) -> list[Claim]:
    """Of so many new runs."""
    for _ in range(count):
        await stored.run()
    return await stored.claims.take("one", count)
