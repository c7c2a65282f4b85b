"""Calls are admitted under all of their limits, or under none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from flowyard.storage.database import Database, open_database
from flowyard.storage.pace import Limit, ModelPace, Refusal
from support.waiting import eventually


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, service="tests") as database:
        yield database


async def test_no_more_calls_are_admitted_than_there_are_places_however_many_ask_at_once(database: Database) -> None:
    pace, limit = ModelPace(database, lease_s=60), Limit(name="p", concurrency=2)
    for _ in range(20):
        calls = [uuid4() for _ in range(20)]
        answers = await asyncio.gather(*(pace.admit(call, [limit], tokens=1) for call in calls))
        assert answers.count(None) == 2
        await asyncio.gather(*(pace.settle(call, unused=0) for call in calls))


async def test_the_place_of_a_call_that_nobody_ends_is_free_after_its_lease(database: Database) -> None:
    pace, limit = ModelPace(database, lease_s=0.5), Limit(name="p", concurrency=1)
    assert await pace.admit(uuid4(), [limit], tokens=1) is None
    assert await pace.admit(uuid4(), [limit], tokens=1) is not None

    async def is_admitted() -> bool:
        return await pace.admit(uuid4(), [limit], tokens=1) is None

    await eventually(is_admitted, 3)


async def test_a_refused_call_takes_nothing_of_its_other_limits(database: Database) -> None:
    pace = ModelPace(database, lease_s=60)
    narrow, wide = Limit(name="w", concurrency=1), Limit(name="p", requests_per_minute=30, tokens_per_minute=60)
    assert await pace.admit(uuid4(), [narrow], tokens=1) is None
    for _ in range(5):
        assert await pace.admit(uuid4(), [wide, narrow], tokens=60) == Refusal("w", 0.05, rate_limited=False)
    assert await pace.admit(uuid4(), [wide], tokens=60) is None


async def test_what_a_call_has_not_used_is_given_back_once(database: Database) -> None:
    pace, limit, call = ModelPace(database, lease_s=60), Limit(name="p", tokens_per_minute=60), uuid4()
    assert await pace.admit(call, [limit], tokens=100) is None
    for _ in range(2):
        await pace.settle(call, unused=0.4)
    refused = await pace.admit(uuid4(), [limit], tokens=1)
    assert refused is not None
    assert 43 < refused.wait_s < 45  # 60 tokens are 60 seconds, of which 15 may be taken in advance


async def test_a_429_halves_the_pace_once_for_all_calls_that_got_it(database: Database) -> None:
    pace, limit = ModelPace(database, lease_s=60), Limit(name="p", concurrency=8, requests_per_minute=600)
    assert await pace.admit(uuid4(), [limit], tokens=1) is None
    await asyncio.gather(*(pace.slow_down("p", wait_s=0.5) for _ in range(5)))
    held = await pace.admit(uuid4(), [limit], tokens=1)
    assert held is not None
    assert 0.2 < held.wait_s <= 0.5
    assert held.rate_limited
    await asyncio.sleep(held.wait_s)
    answers = [await pace.admit(uuid4(), [limit], tokens=1) for _ in range(4)]
    # Four places instead of eight, one of which is taken.
    assert answers == [None, None, None, Refusal("p", 0.05, rate_limited=True)]
    # Three requests at 0.2 s instead of 0.1 s.
    ahead = "SELECT extract(epoch FROM requests_at - clock_timestamp())::float8 FROM model_pace"
    assert 0.5 < await database.value(ahead) <= 0.6
    await database.execute("UPDATE model_pace SET slowed_at = slowed_at - interval '1 minute'")
    assert await pace.admit(uuid4(), [limit], tokens=1) is None
