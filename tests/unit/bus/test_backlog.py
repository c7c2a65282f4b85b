from __future__ import annotations

import asyncio

from flowyard.bus.backlog import Backlog


def _all(backlog: Backlog[str]) -> list[str]:
    return [backlog.take() for _ in range(len(backlog))]


def test_beyond_so_many_items_the_oldest_go() -> None:
    backlog = Backlog[str](items=2, size=100)
    assert [backlog.put(item, 1) for item in "abc"] == [[], [], ["a"]]
    assert _all(backlog) == ["b", "c"]


def test_beyond_so_many_bytes_the_oldest_go() -> None:
    backlog = Backlog[str](items=100, size=10)
    assert [backlog.put("a", 4), backlog.put("b", 4), backlog.put("c", 9)] == [[], [], ["a", "b"]]
    assert _all(backlog) == ["c"]
    assert backlog.put("d", 10) == []


def test_one_item_is_kept_however_large_it_is() -> None:
    backlog = Backlog[str](items=1, size=10)
    assert backlog.put("a", 11) == []
    assert _all(backlog) == ["a"]


async def test_a_reader_sleeps_until_there_is_something() -> None:
    backlog = Backlog[str](items=1, size=10)
    reader = asyncio.create_task(backlog.filled())
    for item in "ab":
        await asyncio.sleep(0)
        assert not reader.done()
        backlog.put(item, 1)
        await reader
        assert backlog.take() == item
        reader = asyncio.create_task(backlog.filled())
    reader.cancel()
