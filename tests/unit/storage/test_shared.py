"""Calls of the same moment: one statement for all of them, and each caller gets its own answer or error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from flowyard.errors.services import Unavailable
from flowyard.storage.shared import Shared


@dataclass
class Server:
    """Answers with ten times a number, once it is `free`; refuses numbers below zero. `statements`: what it got."""

    free: asyncio.Event = field(default_factory=asyncio.Event)
    is_away: bool = False
    statements: list[list[int]] = field(default_factory=list)

    async def send(self, items: Sequence[int]) -> list[int]:
        self.statements.append(list(items))
        await self.free.wait()
        if self.is_away:
            raise Unavailable("Postgres")
        if any(item < 0 for item in items):
            raise ValueError(f"below zero, in a statement of {len(items)}")
        return [10 * item for item in items]


@pytest.fixture
def server() -> Server:
    server = Server()
    server.free.set()
    return server


def calls(shared: Shared[int, int], *items: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(shared.call(item)) for item in items]


async def test_calls_of_the_same_moment_share_a_statement(server: Server) -> None:
    shared = Shared(server.send, most=64)
    assert await asyncio.gather(*calls(shared, 1, 2, 3)) == [10, 20, 30]
    assert await shared.call(4) == 40
    assert server.statements == [[1, 2, 3], [4]]


async def test_who_calls_while_a_statement_runs_takes_part_in_the_next_one(server: Server) -> None:
    shared = Shared(server.send, most=3)
    server.free.clear()
    first = calls(shared, 1)
    await asyncio.sleep(0.01)
    later = calls(shared, 2, 3, 4, 5)
    await asyncio.sleep(0.01)
    assert server.statements == [[1]]
    server.free.set()
    assert await asyncio.gather(*first, *later) == [10, 20, 30, 40, 50]
    assert server.statements == [[1], [2, 3, 4], [5]]


async def test_what_is_refused_fails_only_its_own_caller(server: Server) -> None:
    shared = Shared(server.send, most=64)
    answers = await asyncio.gather(*calls(shared, 1, 2, -3, 4, 5), return_exceptions=True)
    assert [answers[place] for place in (0, 1, 3, 4)] == [10, 20, 40, 50]
    assert str(answers[2]) == "below zero, in a statement of 1"


async def test_all_learn_at_once_that_the_server_is_away(server: Server) -> None:
    shared = Shared(server.send, most=64)
    server.is_away = True
    answers = await asyncio.gather(*calls(shared, 1, 2, 3), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert len(server.statements) == 1
    server.is_away = False
    assert await shared.call(1) == 10


async def test_a_caller_who_gives_up_holds_up_nobody(server: Server) -> None:
    shared = Shared(server.send, most=64)
    server.free.clear()
    first, second = calls(shared, 1, 2)
    await asyncio.sleep(0.01)
    [third, fourth] = calls(shared, 3, 4)
    await asyncio.sleep(0.01)
    for given_up in (first, third):
        given_up.cancel()
    server.free.set()
    assert [await call for call in (second, fourth)] == [20, 40]
    assert server.statements == [[1, 2], [4]]
