from __future__ import annotations

import asyncio

import pytest

from flowyard.bus.doorbell import Doorbell

LONG_S = 60.0


async def _has_rung(bell: Doorbell) -> bool:
    try:
        await asyncio.wait_for(bell.wait(), 0.02)
    except TimeoutError:
        return False
    return True


async def test_many_rings_are_one() -> None:
    bell = Doorbell(poll_s=LONG_S)
    bell.ring()
    bell.ring()
    assert await _has_rung(bell)
    assert not await _has_rung(bell)


async def test_a_ring_during_the_work_is_answered_after_it() -> None:
    bell = Doorbell(poll_s=LONG_S)
    bell.ring()
    await bell.wait()
    bell.ring()
    assert await _has_rung(bell)


async def test_without_a_ring_it_returns_when_the_poll_is_due() -> None:
    bell = Doorbell(poll_s=0.01)
    assert await _has_rung(bell)
    assert await _has_rung(bell)


async def test_a_cancelled_waiter_is_cancelled() -> None:
    waiting = asyncio.create_task(Doorbell(poll_s=LONG_S).wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
