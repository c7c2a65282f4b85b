"""Commits while Postgres goes away, and those of which only the answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowyard.errors.runs import ClaimLost
from flowyard.runs.claim import Claim
from flowyard.runs.run import Entry
from flowyard.storage.commits import CommitResult, Committer, RunCommit
from flowyard.storage.packing import packed
from flowyard.storage.schema import migrate
from flowyard_embedded.servers.postgres import PostgresServer, start_postgres
from support.rows import full_commit
from support.servers import FORGETFUL
from support.stored import LEASE_S, Stored, claims_of, commit_of, ending, handing_back, open_stored
from support.waiting import eventually


class Restarted:
    """A Postgres that can be killed, and started again where it was."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.server: PostgresServer = start_postgres(home, settings={**FORGETFUL, "synchronous_commit": "on"})

    @property
    def url(self) -> str:
        return self.server.url.get_secret_value()

    async def crash(self) -> None:
        self.server.process.child.kill()
        await asyncio.to_thread(self.server.process.stop)

    async def start(self) -> None:
        settings = {**FORGETFUL, "synchronous_commit": "on"}
        self.server = await asyncio.to_thread(start_postgres, self.home, port=self.server.port, settings=settings)


@pytest.fixture
async def own_server(server_home: Path) -> AsyncIterator[Restarted]:
    restarted = await asyncio.to_thread(Restarted, server_home / "postgres")
    await migrate(restarted.url)
    yield restarted
    await asyncio.to_thread(restarted.server.process.stop)


async def test_commits_wait_while_postgres_is_away_and_succeed_when_it_is_back(own_server: Restarted) -> None:
    async with open_stored(own_server.url) as stored:
        claims = await claims_of(stored, 8)
        seqs = {claim.run_id: claim.last_seq for claim in claims}
        crashed = asyncio.Event()

        async def work(claim: Claim) -> None:
            while not crashed.is_set() or seqs[claim.run_id] < 20:
                await stored.committer.commit(commit_of(claim, seq=seqs[claim.run_id] + 1))
                seqs[claim.run_id] += 1
            await stored.finish(claim, seq=seqs[claim.run_id] + 1)

        at_work = [asyncio.create_task(work(claim)) for claim in claims]
        await eventually(lambda: min(seqs.values()) > 2)
        await own_server.crash()
        crashed.set()
        await asyncio.sleep(0.1)  # a commit that doesn't wait for Postgres would fail or succeed in this time
        assert not any(task.done() for task in at_work)
        await own_server.start()
        async with asyncio.timeout(15):
            await asyncio.gather(*at_work)
        for claim in claims:
            entries = await stored.entries(claim.run_id)
            assert [entry.seq for entry in entries] == list(range(1, seqs[claim.run_id] + 2))
            assert entries[-1].type == "run.succeeded"


class AnswersLost:
    """A database whose server goes away just after it has written: the first `times` answers are lost."""

    def __init__(self, stored: Stored, times: int = 1) -> None:
        self.stored = stored
        self.times = times

    async def rows(self, statement: str, *args: object) -> list[object]:
        rows = await self.stored.database.rows(statement, *args)
        if self.times:
            self.times -= 1
            await self.stored.database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return list(rows)

    async def value(self, statement: str, *args: object) -> object:
        return await self.stored.database.value(statement, *args)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("last_commit", [ending, handing_back])
async def test_a_claim_that_ends_and_whose_answer_was_lost_is_not_taken_for_a_lost_claim(
    stored: Stored, last_commit: Callable[..., RunCommit], times: int
) -> None:
    claim = await stored.claimed()
    await stored.committer.commit(full_commit(claim))
    database: object = AnswersLost(stored, times)
    committer = Committer(database, lease_s=LEASE_S)  # type: ignore[arg-type]  # the part of it that is used
    task = asyncio.create_task(committer.run())
    async with asyncio.timeout(5):
        assert await committer.commit(last_commit(claim, seq=3)) == CommitResult(cancel_requested=False)
    task.cancel()
    assert (await stored.runs.get(claim.run_id)).status in ("succeeded", "queued")
    assert len(await stored.entries(claim.run_id)) == 3


async def test_a_step_whose_answer_was_lost_is_there_once(stored: Stored) -> None:
    claim = await stored.claimed()
    database: object = AnswersLost(stored)
    committer = Committer(database, lease_s=LEASE_S)  # type: ignore[arg-type]  # as above
    task = asyncio.create_task(committer.run())
    async with asyncio.timeout(5):
        await committer.commit(full_commit(claim))
    task.cancel()
    assert len(await stored.history.steps(claim.run_id)) == 1
    assert len(await stored.history.calls(claim.run_id)) == 1
    assert [entry.seq for entry in await stored.entries(claim.run_id)] == [1, 2]


async def test_an_end_that_somebody_else_made_while_its_answer_was_lost_is_a_lost_claim(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.expire(claim.run_id)
    await stored.moves.sweep()
    database: object = AnswersLost(stored)
    committer = Committer(database, lease_s=LEASE_S)  # type: ignore[arg-type]  # as above
    task = asyncio.create_task(committer.run())
    async with asyncio.timeout(5):
        with pytest.raises(ClaimLost):
            await committer.commit(ending(claim, seq=3))
    task.cancel()


async def test_the_same_end_under_a_later_claim_is_not_taken_for_ours(stored: Stored) -> None:
    claim = await stored.claimed()
    await stored.expire(claim.run_id)
    await stored.moves.sweep()
    [later] = await stored.claims.take("other", 1)
    end = ending(later)
    end.entries = packed([Entry(end.last_seq, datetime.now(UTC), "run.succeeded", {})])
    await stored.committer.commit(end)
    database: object = AnswersLost(stored)
    committer = Committer(database, lease_s=LEASE_S)  # type: ignore[arg-type]  # as above
    task = asyncio.create_task(committer.run())
    async with asyncio.timeout(5):
        with pytest.raises(ClaimLost):
            await committer.commit(ending(claim, seq=later.last_seq + 1))
    task.cancel()
