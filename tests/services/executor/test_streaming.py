"""Replies are streamed if somebody follows their run, and whoever comes late gets the text so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID, uuid4

from flowyard.bus import subjects
from flowyard.bus.messages import RunEvents, RunFollowed, RunTokens, WorkQueued
from flowyard.control.live import Live
from flowyard.runs.events import StepId, Token
from flowyard_executor.followers import FOLLOWED_S
from flowyard_executor.tokens import TokenStream, gather_s
from support.attempts import WireModel
from support.executors import Yard
from support.in_process import InProcess, executing
from support.stories import CHAIN
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Held, Text
from support.wire.server import Request

POEM: Final = "soft rain on the last leaves"


@asynccontextmanager
async def following(yard: Yard, executor: InProcess, run_id: UUID) -> AsyncIterator[list[RunTokens]]:
    """The tokens as they come to one follower."""
    tokens: list[RunTokens] = []
    live = Live(executor.parts.bus, yard.history, yard.runs, poll_s=0.05)

    async def collect() -> None:
        nonlocal tokens
        with live.listen(run_id, after=0) as listener:
            async for item in live.follow(listener, tokens=True):
                tokens += [item] if isinstance(item, RunTokens) else []

    async with live.running(asyncio.Event()):
        collecting = asyncio.create_task(collect())
        try:
            yield tokens
        finally:
            collecting.cancel()
            with suppress(asyncio.CancelledError):
                await collecting


def text_of(tokens: list[RunTokens], node: str) -> str:
    """What came of a node, without holes."""
    text = ""
    for token in tokens:
        if token.node == node:
            assert token.offset == len(text)
            text += token.text
    return text


def streamed(yard: Yard) -> list[bool]:
    return [request.body.get("stream", False) for request in yard.model.requests]


async def test_replies_that_nobody_follows_are_not_streamed(yard: Yard, wire: WireModel) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")  # before it starts: no bell rings for it
    async with executing(yard):
        await yard.ended(run_id)
    assert streamed(yard) == [False] * 3


async def test_a_follower_makes_the_next_calls_be_streamed(yard: Yard, wire: WireModel) -> None:
    go = asyncio.Event()

    async def answer(request: Request) -> str | Behaviour:
        return Held(Text(POEM), go)

    wire.answers["first"] = answer
    async with executing(yard, poll_s=0.05) as one:
        run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
        await eventually(lambda: wire.calls["first"])
        async with following(yard, one, run_id) as tokens:
            await eventually(lambda: one.parts.followers.follow_tokens(run_id))
            go.set()
            await yard.ended(run_id)
            await eventually(lambda: text_of(tokens, "third") == "third")
    assert streamed(yard) == [False, True, True]
    assert {token.node for token in tokens} == {"second", "third"}


async def test_who_comes_in_the_middle_of_a_reply_gets_the_text_so_far_and_then_the_rest(
    yard: Yard, wire: WireModel
) -> None:
    go = asyncio.Event()

    async def answer(request: Request) -> str | Behaviour:
        return Held(Text(POEM), go, after=3)

    wire.answers["first"] = answer
    async with executing(yard) as one:
        # It has looked for runs: it claims the next one when the bell rings, and not before somebody follows it.
        await eventually(lambda: one.count("claim_statement_seconds_count"))
        name = await yard.apply(CHAIN)
        run_id = await yard.submit(name, topic="rain")
        async with following(yard, one, run_id) as early:
            await eventually(lambda: one.parts.followers.follow_tokens(run_id))
            one.parts.bus.publish(WorkQueued())
            await eventually(lambda: text_of(early, "first"))
            before = list(early)
            async with following(yard, one, run_id) as late:
                await eventually(lambda: text_of(late, "first") == text_of(early, "first"))
                go.set()
                await yard.ended(run_id)
                for tokens in (early, late):
                    await eventually(lambda: text_of(tokens, "first") == POEM)  # noqa: B023  # called in this turn
    assert early[: len(before)] == before


async def test_a_run_counts_as_followed_for_a_while_only(yard: Yard, wire: WireModel) -> None:
    async with executing(yard) as one:
        followers, run_id = one.parts.followers, uuid4()
        await followers.receive(RunFollowed(run_id=run_id, tokens=False))
        assert (followers.follow_events(run_id), followers.follow_tokens(run_id)) == (True, False)
        await followers.receive(RunFollowed(run_id=run_id))
        assert followers.follow_tokens(run_id)
        followers._events_until[run_id] -= FOLLOWED_S
        assert not followers.follow_events(run_id)
        await followers.receive(RunFollowed(run_id=uuid4(), tokens=False))
        assert run_id not in followers._events_until


async def announced(yard: Yard, wire: WireModel, run_id: UUID, *messages: RunFollowed) -> list[RunEvents]:
    """What is announced of a run, of which `messages` say in its first call that it is followed."""
    go, received = asyncio.Event(), list[RunEvents]()

    async def answer(request: Request) -> str | Behaviour:
        return Held(Text("ok"), go)

    async def receive(message: RunEvents) -> None:
        received.append(message)

    wire.answers["first"] = answer
    async with (
        executing(yard, poll_s=0.05) as one,
        one.parts.bus.subscribe(subjects.ANY_RUN_EVENTS, RunEvents, receive),
    ):
        await eventually(lambda: wire.calls["first"])
        for message in messages:
            await one.parts.followers.receive(message)
        go.set()
        await yard.ended(run_id)
        await eventually(lambda: received and received[-1].has_moved)
    return received


async def test_only_the_end_of_a_run_is_announced_unless_somebody_follows_it(yard: Yard, wire: WireModel) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    [end] = await announced(yard, wire, run_id, RunFollowed(run_id=uuid4()))
    assert end == RunEvents(run_id=run_id, last_seq=(await yard.ended(run_id)).last_seq, has_moved=True)


async def test_a_follower_hears_at_once_of_what_it_may_have_missed_and_then_of_each_commit(
    yard: Yard, wire: WireModel
) -> None:
    run_id = await yard.submit(await yard.apply(CHAIN), topic="rain")
    seen = [
        (news.has_moved, news.last_seq)
        for news in await announced(yard, wire, run_id, RunFollowed(run_id=run_id, tokens=False))
    ]
    assert seen[0] == (False, 1) or seen[0][1] > 1
    assert len(seen) >= 4
    assert [moved for moved, _ in seen] == [False] * (len(seen) - 1) + [True]


class Sent:
    """A bus that keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[RunTokens] = []

    def publish(self, message: RunTokens) -> None:
        self.messages.append(message)


async def test_a_long_text_is_published_in_parts_and_forgotten_when_its_step_has_ended() -> None:
    sent, run_id, step = Sent(), uuid4(), StepId("write", 1)
    tokens = TokenStream(sent)  # type: ignore[arg-type]  # the part of it that is used
    long = "雨" * 120_000
    tokens.add(run_id, 1, Token(step, long))
    tokens.flush(run_id)
    tokens.publish_again(run_id)
    assert text_of(sent.messages[:3], "write") == text_of(sent.messages[3:], "write") == long
    tokens.add(run_id, 1, Token(step, "again", 2, 0))
    tokens.flush(run_id)
    assert (sent.messages[-1].call, sent.messages[-1].offset, sent.messages[-1].text) == (2, 0, "again")
    tokens.end_step(run_id, step)
    published = len(sent.messages)
    tokens.publish_again(run_id)
    assert len(sent.messages) == published


async def test_the_first_piece_of_a_text_is_published_at_once_and_the_others_together() -> None:
    sent, run_id, step = Sent(), uuid4(), StepId("write", 1)
    tokens = TokenStream(sent)  # type: ignore[arg-type]  # the part of it that is used
    for offset, piece in enumerate("abc"):
        tokens.add(run_id, 1, Token(step, piece, 1, offset))
    assert [(message.offset, message.text) for message in sent.messages] == [(0, "a")]
    await eventually(lambda: len(sent.messages) > 1)
    assert [(message.offset, message.text) for message in sent.messages] == [(0, "a"), (1, "bc")]


def test_tokens_are_gathered_for_longer_while_many_runs_are_streamed_but_never_long() -> None:
    assert gather_s(1) == 0.03
    assert gather_s(1) < gather_s(20) < gather_s(50) < gather_s(1000) == 0.1
