"""A run that was at work when two executors were lost: it may be the cause, so it is executed alone."""

from __future__ import annotations

from uuid import UUID

from flowyard.runs.claim import Claim
from support.stored import Stored


async def lose(stored: Stored, claim: Claim) -> None:
    await stored.expire(claim.run_id)
    assert [moved.run_id for moved in await stored.moves.sweep()] == [claim.run_id]


async def lost_twice(stored: Stored) -> UUID:
    claim = await stored.claimed()
    await lose(stored, claim)
    [claim] = await stored.claims.take("two", 1)
    await lose(stored, claim)
    return claim.run_id


async def test_it_is_claimed_first_and_alone_by_an_executor_without_other_runs(stored: Stored) -> None:
    suspect = await lost_twice(stored)
    others = [await stored.run() for _ in range(2)]
    [claim] = await stored.claims.take("three", 5, alone=True)
    assert (claim.run_id, claim.attempt) == (suspect, 3)
    assert {claim.run_id for claim in await stored.claims.take("three", 5, alone=True)} == set(others)


async def test_an_executor_with_other_runs_does_not_get_it(stored: Stored) -> None:
    suspect = await lost_twice(stored)
    other = await stored.run()
    assert [claim.run_id for claim in await stored.claims.take("three", 5, alone=False)] == [other]
    assert await stored.queue.waits_for_room(longer_than_s=-1)
    assert [claim.run_id for claim in await stored.claims.take("three", 5, alone=True)] == [suspect]
    assert not await stored.queue.waits_for_room(longer_than_s=-1)


async def test_a_run_that_was_handed_back_has_lost_no_executor(stored: Stored) -> None:
    claim = await stored.claimed()
    for _ in range(3):
        await stored.hand_back(claim)
        [claim] = await stored.claims.take("two", 1, alone=False)
    assert claim.attempt == 1


async def test_it_keeps_to_the_concurrency_of_its_workflow(stored: Stored) -> None:
    await stored.workflow("test", concurrency=1)
    suspect = await lost_twice(stored)
    await stored.database.execute("UPDATE runs SET queued_at = now() + interval '1 h' WHERE id = $1", suspect)
    other = await stored.run()
    [claim] = await stored.claims.take("three", 1, alone=False)
    assert claim.run_id == other
    assert await stored.claims.take("four", 1, alone=True) == []


async def test_a_run_that_fails_with_its_executor_says_what_was_last_known_of_it(stored: Stored) -> None:
    claim = await stored.claimed(max_attempts=1)
    await stored.claims.renew({claim.run_id: claim.epoch}, seen="it used 950 of 1,024 MB of memory")
    await lose(stored, claim)
    error = (await stored.runs.get(claim.run_id)).error
    assert error is not None
    assert (error.code, error.message) == (
        "executor_lost",
        "its executor was lost, and it had 1 attempt; when that was last heard of, it used 950 of 1,024 MB of memory",
    )
