from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from nats.aio.client import Client

from flowyard.bus import subjects
from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.doorbell import doorbell
from flowyard.bus.messages import DraftTestResults, DraftTests, KeyChanged, RunTokens, WorkQueued
from support.waiting import eventually

RUN = UUID("01990000-0000-7000-8000-000000000001")
OTHER_RUN = UUID("01990000-0000-7000-8000-000000000002")


def token(text: str, run_id: UUID = RUN) -> RunTokens:
    return RunTokens(run_id=run_id, epoch=1, node="write", visit=1, text=text)


@dataclass
class Receiver:
    texts: list[str] = field(default_factory=list)

    async def __call__(self, message: RunTokens) -> None:
        self.texts.append(message.text)


@pytest.fixture
def dropped() -> list[tuple[str, str]]:
    return []


@pytest.fixture
async def bus(nats_url: str, dropped: list[tuple[str, str]]) -> AsyncIterator[Bus]:
    async with open_bus(nats_url, name="test", on_drop=lambda *drop: dropped.append(drop)) as opened:
        await eventually(lambda: opened.connected)
        yield opened


async def test_many_messages_arrive_in_order_and_nowhere_else(bus: Bus, dropped: list[tuple[str, str]]) -> None:
    received, received_by_another = Receiver(), Receiver()
    async with (
        bus.subscribe(subjects.run_tokens(RUN), RunTokens, received),
        bus.subscribe(subjects.run_tokens(OTHER_RUN), RunTokens, received_by_another),
    ):
        for number in range(3000):
            bus.publish(token(str(number)))
        bus.publish(token("end", OTHER_RUN))
        await eventually(lambda: len(received.texts) == 3000 and bool(received_by_another.texts))
    assert received.texts == [str(number) for number in range(3000)]
    assert received_by_another.texts == ["end"]
    assert dropped == []


async def test_nats_has_what_was_delivered_with_all_that_was_published_before(nats_url: str, bus: Bus) -> None:
    received = Receiver()
    async with open_bus(nats_url, name="other") as other, open_bus(nats_url, name="third") as third:
        await eventually(lambda: other.connected and third.connected)
        async with other.subscribe(subjects.ANY_RUN_TOKENS, RunTokens, received):
            for number in range(500):
                bus.publish(token(str(number)))
            await bus.deliver(token("delivered"))
            # By another connection: it comes last only if NATS has all of the others by now.
            third.publish(token("later"))
            await eventually(lambda: len(received.texts) == 502)
    assert received.texts[-2:] == ["delivered", "later"]


async def test_delivering_does_not_wait_for_a_nats_that_is_not_there() -> None:
    async with open_bus("nats://127.0.0.1:9", name="test") as alone, asyncio.timeout(0.5):
        await alone.deliver(token("kept"))


async def test_what_is_published_as_the_last_thing_is_still_sent(nats_url: str, bus: Bus) -> None:
    received = Receiver()
    async with bus.subscribe(subjects.ANY_RUN_TOKENS, RunTokens, received):
        async with open_bus(nats_url, name="short") as short:
            for number in range(500):
                short.publish(token(str(number)))
            await eventually(lambda: short.connected)
        await eventually(lambda: len(received.texts) == 500)


async def test_garbage_is_counted_and_the_next_message_is_received(
    nats_url: str, bus: Bus, dropped: list[tuple[str, str]]
) -> None:
    received, stranger = Receiver(), Client()
    await stranger.connect(nats_url)
    async with bus.subscribe(subjects.run_tokens(RUN), RunTokens, received):
        for garbage in (b"", b"\xff\x00", b"{}", b'{"run_id": 1}'):
            await stranger.publish(subjects.run_tokens(RUN), garbage)
        await stranger.flush()
        bus.publish(token("good"))
        await eventually(lambda: received.texts == ["good"])
    await stranger.close()
    assert dropped == [("undecodable", "RunTokens")] * 4


async def test_a_handler_that_fails_receives_the_next_message(bus: Bus, dropped: list[tuple[str, str]]) -> None:
    received = Receiver()

    async def fragile(message: RunTokens) -> None:
        if message.text == "bad":
            raise RuntimeError(message.text)
        await received(message)

    async with bus.subscribe(subjects.run_tokens(RUN), RunTokens, fragile):
        bus.publish(token("bad"))
        bus.publish(token("good"))
        await eventually(lambda: received.texts == ["good"])
    assert dropped == [("handler_failed", "RunTokens")]


async def test_a_slow_handler_loses_the_oldest_and_nobody_waits_for_it(
    bus: Bus, dropped: list[tuple[str, str]]
) -> None:
    received, neighbour, may_go_on = Receiver(), Receiver(), asyncio.Event()
    missed: list[int] = []

    async def slow(message: RunTokens) -> None:
        await may_go_on.wait()
        await received(message)

    async with (
        bus.subscribe(subjects.run_tokens(RUN), RunTokens, slow, missed=lambda: missed.append(len(dropped))),
        bus.subscribe(subjects.run_tokens(RUN), RunTokens, neighbour),
    ):
        for number in range(5000):
            bus.publish(token(str(number)))
        await eventually(lambda: len(neighbour.texts) == 5000)
        assert received.texts == []
        may_go_on.set()
        await eventually(lambda: "4999" in received.texts)
    assert received.texts == ["0", *(str(number) for number in range(5000 - len(received.texts) + 1, 5000))]
    assert dropped == [("slow_consumer", "RunTokens")] * (5000 - len(received.texts))
    assert missed[-1] == len(dropped) > 0


async def test_one_member_of_a_queue_group_receives_each_message(bus: Bus) -> None:
    one, other = Receiver(), Receiver()
    async with (
        bus.subscribe(subjects.run_tokens(RUN), RunTokens, one, queue="q"),
        bus.subscribe(subjects.run_tokens(RUN), RunTokens, other, queue="q"),
    ):
        for number in range(100):
            bus.publish(token(str(number)))
        await eventually(lambda: len(one.texts) + len(other.texts) == 100)
    assert sorted(one.texts + other.texts, key=int) == [str(number) for number in range(100)]


@pytest.mark.parametrize(("text", "reason"), [("x" * 2_000_000, "too_large"), ("\ud800", "unencodable")])
async def test_what_cant_be_sent_is_counted_and_the_next_message_is_sent(
    bus: Bus, dropped: list[tuple[str, str]], text: str, reason: str
) -> None:
    received = Receiver()
    async with bus.subscribe(subjects.run_tokens(RUN), RunTokens, received):
        bus.publish(RunTokens.model_construct(**{**dict(token("")), "text": text}))
        bus.publish(token("good"))
        await eventually(lambda: received.texts == ["good"])
    assert dropped == [(reason, "RunTokens")]


async def test_who_gives_up_while_subscribing_leaves_the_connection_alive(bus: Bus) -> None:
    async def listen() -> None:
        async with bus.subscribe(subjects.run_tokens(RUN), RunTokens, Receiver()):
            pass

    for turns in range(12):
        impatient = asyncio.create_task(listen())
        for _ in range(turns):
            await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait({impatient})
    async with doorbell(bus, subjects.KEYS_CHANGED, KeyChanged, poll_s=60) as bell:
        await bell.wait()
        bus.publish(KeyChanged(id="k1"))
        await asyncio.wait_for(bell.wait(), 1)


async def test_a_subscription_that_is_over_receives_nothing_and_costs_nothing(bus: Bus) -> None:
    tasks = len(asyncio.all_tasks())
    received = Receiver()
    for _ in range(50):
        async with bus.subscribe(subjects.run_tokens(RUN), RunTokens, received):
            pass
    bus.publish(token("late"))
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    assert received.texts == []


async def test_hundreds_can_listen_at_once(bus: Bus) -> None:
    received = [Receiver() for _ in range(300)]
    async with AsyncExitStack() as listeners:
        for each in received:
            await listeners.enter_async_context(bus.subscribe(subjects.run_tokens(RUN), RunTokens, each))
        bus.publish(token("hello"))
        await eventually(lambda: all(each.texts == ["hello"] for each in received))


async def test_a_doorbell_rings_with_each_message(bus: Bus) -> None:
    async with doorbell(bus, subjects.RUNS_QUEUED, WorkQueued, poll_s=60) as bell:
        await bell.wait()
        for _ in range(3):
            bus.publish(WorkQueued())
            await asyncio.wait_for(bell.wait(), 1)


async def test_a_request_is_answered_by_one_of_those_who_receive_it(bus: Bus) -> None:
    received: list[str] = []

    async def answer(message: DraftTests) -> DraftTestResults:
        received.append(message.document)
        return DraftTestResults(faults=[[message.document]])

    async with (
        bus.subscribe(subjects.DRAFT_TESTS, DraftTests, answer, queue="executors"),
        bus.subscribe(subjects.DRAFT_TESTS, DraftTests, answer, queue="executors"),
    ):
        for name in ("one", "two"):
            results = await bus.request(DraftTests(document=name), DraftTestResults, within_s=10)
            assert results == DraftTestResults(faults=[[name]])
    assert received == ["one", "two"]


async def test_a_request_that_nobody_receives_has_no_answer(bus: Bus) -> None:
    # At once: an hour would exceed the time of this test.
    assert await bus.request(DraftTests(document="d"), DraftTestResults, within_s=3600) is None


async def test_a_request_whose_receiver_fails_has_no_answer(bus: Bus) -> None:
    async def fail(_message: DraftTests) -> DraftTestResults:
        raise ValueError("broken")

    async with bus.subscribe(subjects.DRAFT_TESTS, DraftTests, fail):
        assert await bus.request(DraftTests(document="d"), DraftTestResults, within_s=0.2) is None
