from __future__ import annotations

import asyncio

import pytest

from flowyard.errors.requests import TooBusy
from flowyard.web.turns import Turns


async def test_only_so_many_work_at_a_time_and_the_others_follow_in_order() -> None:
    turns, at_work, order = Turns("tests", at_once=2), 0, list[int]()

    async def work(number: int) -> int:
        nonlocal at_work
        async with turns.turn():
            at_work += 1
            order.append(number)
            busy = at_work
            await asyncio.sleep(0)
            at_work -= 1
            return busy

    assert max(await asyncio.gather(*(work(number) for number in range(20)))) == 2
    assert order == list(range(20))


async def test_who_waits_too_long_or_behind_too_many_is_refused_and_takes_no_turn() -> None:
    turns = Turns("tests", at_once=1, wait_s=0.05, most_waiting=3)
    async with turns.turn():
        ends = await asyncio.gather(*(take(turns) for _ in range(10)), return_exceptions=True)
    assert [str(end) for end in ends] == ["too many other tests are being handled: try again in a few seconds"] * 10
    assert all(isinstance(end, TooBusy) and end.retry_after for end in ends)
    await take(turns)


async def test_who_comes_while_too_many_wait_is_refused_at_once() -> None:
    turns = Turns("tests", at_once=1, most_waiting=3)
    async with turns.turn():
        takers = [asyncio.create_task(take(turns)) for _ in range(10)]
        refused, _ = await asyncio.wait(takers, timeout=0.1)
        assert len(refused) == 7
    assert sum(isinstance(end, TooBusy) for end in await asyncio.gather(*takers, return_exceptions=True)) == 7


async def test_who_goes_away_while_it_waits_takes_no_turn() -> None:
    turns = Turns("tests", at_once=1, most_waiting=1)
    async with turns.turn():
        waiting = asyncio.create_task(take(turns))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await take(turns)


async def take(turns: Turns) -> None:
    async with turns.turn():
        pass
