from __future__ import annotations

import asyncio
import json
from uuid import UUID

import pytest

from flowyard.export.finished_run import RunReader
from support.stored import Stored

_PAGE = "INSERT INTO events (run_id, seq, entries) VALUES ($1, $2, $3::text::json)"
_END = "UPDATE runs SET status = 'succeeded', finished_at = now(), last_seq = $2 WHERE id = $1"


async def _finished(stored: Stored, *, steps: int, characters: int, at_once: int) -> UUID:
    """A run whose steps wrote so much each, with so many events in one commit."""
    run_id = await stored.run()
    data = {"node": "a", "visit": 1, "duration_s": 0.1, "outputs": {"x": "o" * characters}}
    for first in range(2, steps + 2, at_once):
        last = min(first + at_once, steps + 2) - 1
        rows = [[0, "step.finished", data] for _ in range(first, last + 1)]
        await stored.database.execute(_PAGE, run_id, last, json.dumps(rows))
    await stored.database.execute(_END, run_id, steps + 1)
    return run_id


@pytest.mark.parametrize("at_once", [1, 7])
async def test_what_the_steps_of_a_huge_run_wrote_is_kept_up_to_a_bound(stored: Stored, at_once: int) -> None:
    run_id = await _finished(stored, steps=400, characters=50_000, at_once=at_once)
    async with RunReader(stored.database).read(run_id) as run:
        assert run is not None
    ended = [entry for entry in run.entries if entry.type == "step.finished"]
    assert [entry.seq for entry in run.entries] == list(range(1, 402))
    kept = [entry.seq for entry in ended if entry.data["outputs"]]
    assert kept == list(range(2, 2 + 16_000_000 // 50_008))
    assert all(entry.data["duration_s"] == 0.1 for entry in ended)


async def test_two_large_runs_are_not_in_memory_at_once(stored: Stored) -> None:
    reader = RunReader(stored.database)
    large = [await _finished(stored, steps=2100, characters=1, at_once=2100) for _ in range(2)]
    small = await _finished(stored, steps=2, characters=1, at_once=2)
    async with asyncio.TaskGroup() as tasks, reader.read(large[0]):
        second = tasks.create_task(_count_entries(reader, large[1]))
        # Small ones don't wait.
        assert await _count_entries(reader, small) == 3
        await asyncio.wait({second}, timeout=1)
        assert not second.done()
    assert second.result() == 2101


async def _count_entries(reader: RunReader, run_id: UUID) -> int:
    async with reader.read(run_id) as run:
        assert run is not None
        return len(run.entries)
