from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from flowyard.storage.exports import Exports
from support.stored import Stored

LEASE_S = 30.0


@pytest.fixture
async def exports(stored: Stored) -> Exports:
    exports = Exports(stored.database)
    await exports.set_targets(["a", "b"])
    return exports


async def ended(stored: Stored, status: str = "succeeded") -> UUID:
    claim = await stored.claimed()
    await stored.finish(claim, status)
    return claim.run_id


async def retried(stored: Stored, run_id: UUID) -> None:
    await stored.moves.retry(run_id)
    [claim] = await stored.claims.take("one", 1)
    await stored.finish(claim)


async def taken(exports: Exports, target: str, most: int = 10) -> list[UUID]:
    return [one.run_id for one in await exports.take(target, most, lease_s=LEASE_S)]


async def overdue(stored: Stored) -> None:
    await stored.database.execute("UPDATE exports SET taken_until = now() - interval '1 s'")


async def test_a_run_waits_once_for_each_target_when_it_has_ended(stored: Stored, exports: Exports) -> None:
    claim = await stored.claimed()
    assert await taken(exports, "a") == []
    await stored.finish(claim)
    assert await taken(exports, "a") == [claim.run_id]
    assert await taken(exports, "b") == [claim.run_id]


async def test_nothing_waits_where_there_is_no_target(stored: Stored, exports: Exports) -> None:
    await exports.set_targets([])
    await ended(stored)
    assert (await stored.counts())["exports"] == 0


async def test_what_waited_for_a_target_goes_with_it(stored: Stored, exports: Exports) -> None:
    await ended(stored)
    assert await exports.set_targets(["b", "c"]) == {"a": 1}
    assert ((await exports.backlog("a")).runs, (await exports.backlog("b")).runs) == (0, 1)
    run_id = await ended(stored)
    assert await taken(exports, "c") == [run_id]


async def test_the_oldest_are_taken_first_and_nobody_takes_what_another_has(stored: Stored, exports: Exports) -> None:
    runs = [await ended(stored) for _ in range(6)]
    first, second = await asyncio.gather(taken(exports, "a", 2), taken(exports, "a", 2))
    assert sorted([*first, *second]) == runs[:4]
    assert await taken(exports, "a") == runs[4:]
    assert await taken(exports, "a") == []


async def test_a_run_whose_sender_died_is_taken_again_and_marked_as_repeated(stored: Stored, exports: Exports) -> None:
    await ended(stored)
    [first] = await exports.take("a", 1, lease_s=LEASE_S)
    await overdue(stored)
    [second] = await exports.take("a", 1, lease_s=LEASE_S)
    assert (first.again, second.again) == (False, True)


async def test_what_a_target_received_nothing_of_is_as_it_was(stored: Stored, exports: Exports) -> None:
    await ended(stored)
    [first] = await exports.take("a", 1, lease_s=LEASE_S)
    await exports.put_back("a", first, untouched=True)
    [second] = await exports.take("a", 1, lease_s=LEASE_S)
    await exports.put_back("a", second, untouched=False)
    [third] = await exports.take("a", 1, lease_s=LEASE_S)
    await exports.put_back("a", third, untouched=True)
    [fourth] = await exports.take("a", 1, lease_s=LEASE_S)
    assert [one.again for one in (second, third, fourth)] == [False, True, True]


async def test_a_run_that_was_sent_waits_no_more(stored: Stored, exports: Exports) -> None:
    await ended(stored)
    [one] = await exports.take("a", 1, lease_s=LEASE_S)
    assert await exports.done("a", one)
    assert ((await exports.backlog("a")).runs, (await exports.backlog("b")).runs) == (0, 1)


async def test_a_run_that_ended_once_more_while_it_was_sent_is_sent_again(stored: Stored, exports: Exports) -> None:
    run_id = await ended(stored, "failed")
    [before] = await exports.take("a", 1, lease_s=LEASE_S)
    await retried(stored, run_id)
    assert not await exports.done("a", before)
    [after] = await exports.take("a", 1, lease_s=LEASE_S)
    assert (after.run_id, after.again, after.finished_at > before.finished_at) == (run_id, True, True)
    assert await exports.done("a", after)


async def test_a_refused_run_is_left_alone_for_a_while_and_counted(stored: Stored, exports: Exports) -> None:
    await ended(stored)
    [one] = await exports.take("a", 1, lease_s=LEASE_S)
    await exports.refused("a", one, pause_s=60)
    assert await taken(exports, "a") == []
    await overdue(stored)
    [again] = await exports.take("a", 1, lease_s=LEASE_S)
    assert (again.tries, again.again) == (1, True)


async def test_only_the_newest_are_kept_of_too_many(stored: Stored, exports: Exports) -> None:
    runs = [await ended(stored) for _ in range(5)]
    assert await exports.drop_oldest("a", keep=2) == 3
    assert await taken(exports, "a") == runs[3:]
    assert (await exports.backlog("b")).runs == 5


async def test_the_backlog_counts_how_many_wait_and_for_how_long(stored: Stored, exports: Exports) -> None:
    await ended(stored)
    await ended(stored)
    await stored.database.execute("UPDATE exports SET finished_at = finished_at - interval '1 minute'")
    backlog = await exports.backlog("a")
    assert (backlog.runs, 60 <= backlog.lag_s < 70) == (2, True)
    assert (await exports.backlog("nobody")).lag_s == 0
