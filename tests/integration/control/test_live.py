"""Following runs: each event once and in order, whatever NATS loses and however slow the reader is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID, uuid4

import pytest

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunEvents, RunFollowed, RunTokens
from flowyard.control.listener import RunListener
from flowyard.control.live import Live
from flowyard.runs.run import Entry, Run
from flowyard.storage.database import Database
from flowyard.storage.history import History
from flowyard.storage.runs import Runs
from support.hands import Hands
from support.queued import apply, submit
from support.servers import execute
from support.statements import Watched
from support.waiting import eventually
from support.workflows import document

SLOW_POLL_S = 60.0
"""So that only messages can be what a test sees."""


def live_of(database: Database, bus: Bus, *, poll_s: float = SLOW_POLL_S) -> Live:
    return Live(bus, History(database), Runs(database), poll_s=poll_s)


async def submitted(database: Database) -> UUID:
    await apply(database, document("a"))
    return await submit(database, "test")


async def follow(live: Live, run_id: UUID, seen: list[int] | None = None) -> list[int]:
    """The numbers of the run's entries to its end; `seen` has them as they come."""
    seen = [] if seen is None else seen
    with live.listen(run_id, after=0) as listener:
        listener.read_again()
        async for item in live.follow(listener):
            if isinstance(item, Entry):
                seen.append(item.seq)
    return seen


async def until_ended(live: Live, run_id: UUID) -> Run | None:
    with live.listen(run_id, after=1, only_end=True) as listener:
        return await live.until_ended(listener)


@asynccontextmanager
async def executors_of(bus: Bus) -> AsyncIterator[asyncio.Event]:
    """Set when executors have heard that somebody wants tokens."""
    followed = asyncio.Event()

    async def receive(message: RunFollowed) -> None:
        if message.tokens:
            followed.set()

    async with bus.subscribe(subjects.ANY_RUN_FOLLOWED, RunFollowed, receive):
        yield followed


def piece(text: str, offset: int | None, *, epoch: int = 1, call: int = 1) -> RunTokens:
    return RunTokens(run_id=uuid4(), epoch=epoch, node="a", visit=1, call=call, offset=offset, text=text)


@pytest.mark.parametrize(
    ("pieces", "arrived"),
    [
        ([piece("so", 0), piece("ft", 2)], ["so", "ft"]),
        ([piece("so", 0), piece("soft", 0), piece("ft rain", 2), piece("ft", 2)], ["so", "ft", " rain"]),
        ([piece("soft", 0), piece("hard", 0, call=2), piece(" rain", 4)], ["soft", "hard"]),
        ([piece("soft", 0, call=2), piece("hard", 0, epoch=2)], ["soft", "hard"]),
        ([piece("old", None), piece("old", None)], ["old", "old"]),
    ],
    ids=["in order", "again for others", "another call", "another executor", "an executor of an earlier version"],
)
def test_the_text_of_a_reply_is_passed_on_once(pieces: list[RunTokens], arrived: list[str]) -> None:
    listener = RunListener(uuid4(), 1)
    for each in pieces:
        listener.add_token(each)
    assert [item.text for item in listener.take()] == arrived
    assert not listener.must_stream_again


def test_after_a_hole_a_text_is_wanted_again() -> None:
    listener = RunListener(uuid4(), 1)
    for each in (piece("so", 0), piece("rain", 5)):
        listener.add_token(each)
    assert listener.must_stream_again
    listener.add_token(piece("soft rain", 0))
    assert [item.text for item in listener.take()] == ["so", "ft rain"]


def test_news_are_read_after_the_tokens_that_came_before() -> None:
    listener = RunListener(uuid4(), 1)
    listener.add_token(piece("so", 0))
    listener.add_news(2)
    listener.add_news(3)
    listener.add_token(piece("ft", 2))
    assert [token.text for token in listener.take()] == ["so"]
    assert listener.must_read
    listener.last_seq, listener.must_read = 3, False
    assert [token.text for token in listener.take()] == ["ft"]


def test_news_that_are_known_need_not_be_read() -> None:
    listener = RunListener(uuid4(), 3)
    listener.add_news(3)
    assert list(listener.take()) == []
    assert not listener.must_read


def test_a_reader_who_takes_nothing_costs_a_bounded_amount() -> None:
    listener = RunListener(uuid4(), 0)
    for seq in range(1, 10_000):
        listener.add_news(seq)
        listener.add_token(RunTokens(run_id=listener.run_id, epoch=1, node="n", visit=1, text="t"))
    assert len(listener._arrived) < 1000


async def test_a_forged_message_is_news_that_there_are_not(database: Database, bus: Bus, hands: Hands) -> None:
    live, run_id = live_of(database, bus), await submitted(database)
    claim = await hands.take()
    async with live.running(asyncio.Event()):
        seen: list[int] = []
        following = asyncio.create_task(follow(live, run_id, seen))
        ended = asyncio.create_task(until_ended(live, run_id))
        await eventually(partial(bool, seen))
        bus.publish(RunEvents(run_id=run_id, last_seq=2, has_moved=True))
        await asyncio.sleep(0.2)
        assert (seen, following.done(), ended.done()) == ([1], False, False)
        await hands.succeed(claim, {"poem": "p"})
        await asyncio.wait_for(asyncio.gather(following, ended), 2)
    assert seen == [1, 2]
    assert (run := ended.result()) is not None
    assert (run.status, run.outputs) == ("succeeded", {"poem": "p"})


async def test_forged_ends_of_many_runs_cost_a_statement_for_all_of_them(database: Database, bus: Bus) -> None:
    watched = Watched(database)
    live = live_of(watched, bus)
    run_ids = [await submitted(database) for _ in range(15)]
    async with live.running(asyncio.Event()), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(until_ended(live, run_id)) for run_id in run_ids]
        await asyncio.sleep(0)
        for run_id in run_ids:
            bus.publish(RunEvents(run_id=run_id, last_seq=2, has_moved=True))
        await eventually(partial(bool, watched.statements))
        await asyncio.sleep(0.1)
        assert len(watched.statements) < 5
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()


async def test_who_waits_for_an_end_reads_nothing_until_the_poll_has_found_it(
    database: Database, bus: Bus, hands: Hands
) -> None:
    watched = Watched(database)
    live, run_id = live_of(watched, bus, poll_s=0.05), await submitted(database)
    hands.silent = True
    claim = await hands.take()
    await hands.append(claim, "route.taken", node="a", to="b")
    async with live.running(asyncio.Event()):
        waiting = asyncio.create_task(until_ended(live, run_id))
        await eventually(lambda: len(watched.statements) >= 5)
        assert len(set(watched.statements)) == 1
        await hands.succeed(claim, {})
        run = await asyncio.wait_for(waiting, 2)
    assert run is not None
    assert run.status == "succeeded"


async def test_who_streams_to_the_end_reads_no_event_between(database: Database, bus: Bus, hands: Hands) -> None:
    watched = Watched(database)
    live, run_id = live_of(watched, bus), await submitted(database)
    claim = await hands.take()
    seen: list[RunTokens | Run] = []

    async def stream() -> None:
        with live.listen(run_id, after=1, only_end=True) as listener:
            seen.extend([item async for item in live.stream_to_end(listener, tokens=True)])

    def publish(text: str, offset: int) -> None:
        bus.publish(piece(text, offset).model_copy(update={"run_id": run_id}))

    async with live.running(asyncio.Event()), executors_of(bus) as followed:
        streaming = asyncio.create_task(stream())
        await asyncio.wait_for(followed.wait(), 5)
        publish("soft", 0)
        for _ in range(3):
            await hands.append(claim, "route.taken", node="a", to="b")
        publish(" rain", 4)
        await hands.succeed(claim, {"poem": "p"})
        await asyncio.wait_for(streaming, 5)
    assert [item.text for item in seen if isinstance(item, RunTokens)] == ["soft", " rain"]
    assert isinstance(seen[-1], Run)
    assert (seen[-1].status, seen[-1].outputs) == ("succeeded", {"poem": "p"})
    assert len(watched.statements) == 1


async def test_a_slow_reader_misses_no_event(database: Database, bus: Bus, hands: Hands) -> None:
    live, run_id = live_of(database, bus), await submitted(database)
    claim = await hands.take()
    async with live.running(asyncio.Event()):
        with live.listen(run_id, after=0) as listener:
            listener.read_again()
            seen = []
            async for one in live.follow(listener):
                assert isinstance(one, Entry)
                seen.append(one.seq)
                if one.seq == 1:
                    for _ in range(250):
                        await hands.append(claim, "route.taken", node="a", to="b")
                    await hands.succeed(claim, {})
    assert seen == list(range(1, 253))


async def test_what_is_lost_between_messages_is_read(database: Database, bus: Bus, hands: Hands) -> None:
    live, run_id = live_of(database, bus), await submitted(database)
    claim = await hands.take()
    async with live.running(asyncio.Event()):
        seen: list[int] = []
        following = asyncio.create_task(follow(live, run_id, seen))
        await eventually(partial(bool, seen))
        hands.silent = True
        await hands.append(claim, "route.taken", node="a", to="b")
        hands.silent = False
        await hands.succeed(claim, {})
        assert await asyncio.wait_for(following, 2) == [1, 2, 3]


async def test_the_poll_finds_what_no_message_announces(database: Database, bus: Bus, hands: Hands) -> None:
    live, run_id = live_of(database, bus, poll_s=0.05), await submitted(database)
    hands.silent = True
    claim = await hands.take()
    async with live.running(asyncio.Event()):
        following = asyncio.create_task(follow(live, run_id))
        await hands.succeed(claim, {})
        assert await asyncio.wait_for(following, 2) == [1, 2]


async def test_nobody_follows_a_run_that_was_deleted(database: Database, bus: Bus, database_url: str) -> None:
    live, run_id = live_of(database, bus, poll_s=0.05), await submitted(database)
    async with live.running(asyncio.Event()):
        seen: list[int] = []
        following = asyncio.create_task(follow(live, run_id, seen))
        await eventually(partial(bool, seen))
        await execute(database_url, f"DELETE FROM runs WHERE id = '{run_id}'")
        assert await asyncio.wait_for(following, 2) == [1]


async def test_followers_outlast_connections_to_postgres_that_break(
    database: Database, bus: Bus, hands: Hands, database_url: str, postgres_url: str
) -> None:
    live, run_id = live_of(database, bus, poll_s=0.05), await submitted(database)
    name = database_url.rpartition("/")[2].partition("?")[0]
    claim = await hands.take()
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    async with live.running(asyncio.Event()):
        following = asyncio.create_task(follow(live, run_id))
        for _ in range(10):
            await execute(postgres_url, cut)
            await asyncio.sleep(0.03)  # at any moment
        await hands.succeed(claim, {})
        assert await asyncio.wait_for(following, 5) == [1, 2]


async def test_the_end_of_the_process_is_the_end_of_following(database: Database, bus: Bus) -> None:
    live, run_id, ending = live_of(database, bus), await submitted(database), asyncio.Event()
    async with live.running(ending):
        seen: list[int] = []
        following = asyncio.create_task(follow(live, run_id, seen))
        await eventually(partial(bool, seen))
        ending.set()
        assert await asyncio.wait_for(following, 1) == [1]
