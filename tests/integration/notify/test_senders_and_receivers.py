"""Several receivers don't wait for each other, and several senders send nothing twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from aiohttp import web

from flowyard.notify import sender as sender_module
from flowyard.storage.notifications import Notifications
from support.receiving import Received, ended, in_state, only, receiving, refused, sending
from support.stored import Stored
from support.waiting import eventually


async def test_a_receiver_that_fails_for_200_runs_does_not_keep_others_waiting(stored: Stored) -> None:
    async with receiving() as failing, receiving() as other:
        failing.answer = 500
        for _ in range(200):
            await ended(stored, failing.receiver())
        await ended(stored, other.receiver(), status="failed")
        async with sending(stored):
            await eventually(lambda: other.received)
            assert len(failing.received) < 200


async def test_a_receiver_that_has_refused_the_last_one_gets_one_at_a_time(stored: Stored) -> None:
    at_once = peak = 0

    async def failing(_received: Received) -> web.Response:
        nonlocal at_once, peak
        at_once += 1
        peak = max(peak, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return web.Response(status=500)

    async with receiving() as server, sending(stored):
        server.answer = 500
        await ended(stored, server.receiver())
        await refused(stored, 1)
        server.answer = failing
        for _ in range(10):
            await ended(stored, server.receiver())
        await eventually(lambda: len(server.received) >= 8)
    assert peak == 1


async def test_slow_receivers_do_not_keep_others_waiting(stored: Stored) -> None:
    async def slow(_received: Received) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async with receiving() as silent, receiving() as other:
        silent.answer = slow
        # More than may be sent at a time, each to a receiver of its own, and more of one receiver than may be.
        await ended(stored, *(silent.receiver(f"/{n}") for n in range(3)))
        for _ in range(2 * sender_module.EACH):
            await ended(stored, silent.receiver("/0"))
        # No try ends meanwhile: all that were begun are open at the same time.
        async with sending(stored, try_s=600):
            await eventually(lambda: len(silent.received) >= 2 + sender_module.EACH)
            await ended(stored, other.receiver())
            await eventually(lambda: other.received)
            assert sum(each.path == "/0" for each in silent.received) == sender_module.EACH


async def test_many_silent_receivers_leave_room_for_those_that_answer(stored: Stored) -> None:
    async def slow(_received: Received) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async with receiving() as silent, receiving() as other:
        silent.answer = slow
        async with sending(stored, try_s=0.2) as at_work:
            for first in range(0, 40, 8):
                await ended(stored, *(silent.receiver(f"/{n}") for n in range(first, first + 8)))
            await eventually(lambda: at_work.metrics.value("flowyard_receivers_failing") == 40)
        async with sending(stored, try_s=30) as at_work:
            at_work.later(seconds=10)
            before = len(silent.received)
            await eventually(lambda: len(silent.received) == before + sender_module.MOST_FAILING)
            await ended(stored, other.receiver())
            await eventually(lambda: other.received, 5)
            assert len(silent.received) == before + sender_module.MOST_FAILING


async def test_two_senders_send_each_notification_once(stored: Stored) -> None:
    async with receiving() as server:
        runs = [await ended(stored, server.receiver(f"/{number % 7}")) for number in range(60)]
        async with sending(stored), sending(stored) as at_work:
            await eventually(lambda: len(server.received) >= 60)
            await eventually(lambda: at_work.metrics.value("flowyard_notifications_waiting") == 0)
    assert sorted(each.data["id"] for each in server.received) == sorted(map(str, runs))


async def test_what_a_dead_process_was_sending_is_sent_by_another_with_the_same_id(stored: Stored) -> None:
    async with receiving() as server:
        run_id = await ended(stored, server.receiver())
        dead = Notifications(stored.database)
        [taken] = await dead.take(10, most_failing=10, each=10, lease_s=60)
        async with sending(stored) as at_work:
            await asyncio.sleep(0.3)
            assert not server.received
            at_work.later(seconds=61)
            notification = await in_state(stored, "sent")
        # The other one was only slow: what it knows doesn't count any more.
        await dead.refused(taken, notification.answers[0], pause_s=5.0)
    assert (await only(stored)).state == "sent"
    assert [each.id for each in server.received] == [f"{run_id}-2-0"]
    assert [each.status for each in notification.answers] == [None, 204]
    assert "has ended" in (notification.answers[0].failure or "")
    # When the other one took it, and not when this was noticed.
    assert abs(notification.answers[0].at - datetime.now(UTC)) < timedelta(seconds=20)


async def test_what_was_being_sent_when_a_process_ends_is_sent_at_once_by_the_next(stored: Stored) -> None:
    async def slow(_received: Received) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async with receiving() as server:
        server.answer = slow
        await ended(stored, server.receiver())
        async with sending(stored):
            await eventually(lambda: server.received)
        server.answer = 200
        async with sending(stored):
            notification = await in_state(stored, "sent")
    assert notification.tries == 1
    assert {each.id for each in server.received} == {str(notification.id)}
