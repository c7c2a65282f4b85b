"""A run with thousands of recorded steps is replayed in little memory, beside other work, and can be stopped in it."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Final
from uuid import UUID

import pytest

from support.attempts import Attempts, WireModel
from support.stored import Stored
from support.waiting import eventually
from support.workflows import document

ROWS: Final = 4_995
LOOP: Final = document(
    "a b c d e",
    """
    - {from: START, to: a}
    - {from: a, to: b}
    - {from: b, to: c}
    - {from: c, to: d}
    - {from: d, to: e}
    - {from: e, loop: {to: a, until: "iterations('e') >= 1000", max_iterations: 1000, exit_to: END}}
    """,
)
_RECORD: Final = """
INSERT INTO steps (run_id, node, visit, item, status, seq, tries, started_at, duration_s, next, outputs)
SELECT $1, node, turn, -1, 'succeeded', 5 * turn + i - 10000, 1, now(), 0,
    CASE WHEN node = 'e' THEN json_build_array('a', json_build_object('turn', turn, 'outcome', 'again'))
        ELSE json_build_array(after) END,
    json_build_object(node, repeat('x', $2) || turn)
FROM generate_series(1, 999) turn, (VALUES (1, 'a', 'b'), (2, 'b', 'c'), (3, 'c', 'd'), (4, 'd', 'e'), (5, 'e', 'a'))
    nodes (i, node, after)
"""


async def recorded(stored: Stored, attempts: Attempts, characters: int) -> UUID:
    """A run with a long record. Each of its steps has written so many characters."""
    run_id = await attempts.submit(LOOP)
    assert await stored.database.execute(_RECORD, run_id, characters) == ROWS
    return run_id


@pytest.mark.long
async def test_large_results_are_not_kept_in_memory_until_the_replay_is_over(
    stored: Stored, attempts: Attempts
) -> None:
    """They are 300 MB in all."""
    await recorded(stored, attempts, 60_000)
    executor = attempts.executor(WireModel(hold={"a"}))
    claim = await executor.take()
    tracemalloc.start()
    try:
        executor.start(claim)
        await asyncio.wait_for(executor.model.holding.wait(), 50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert executor.watching.replayed_rows == ROWS
    assert peak < 64_000_000


async def test_other_work_goes_on_during_a_long_replay(stored: Stored, attempts: Attempts) -> None:
    await recorded(stored, attempts, 200)
    executor = attempts.executor(WireModel(hold={"a"}))
    attempt = executor.start(await executor.take())
    seen = set()

    def is_replayed() -> bool:
        """How far the replay was, whenever other work had its turn."""
        if attempt._walk is not None:
            seen.add(attempt._walk.marking.visits.get("a"))
        return attempt._walk is not None and attempt._walk.is_replayed

    await eventually(is_replayed, pause_s=0)
    # In turns of some milliseconds each: a fast machine needs few of them.
    assert len(seen) > 3


@pytest.mark.parametrize("why", ["draining", "drained", "cancelled", "lost"])
async def test_a_replay_can_be_stopped_in_the_middle(stored: Stored, attempts: Attempts, why: str) -> None:
    run_id = await recorded(stored, attempts, 200)
    executor = attempts.executor()
    attempt = executor.start(await executor.take())
    # The first page is replayed, and no other.
    await eventually(lambda: attempt._walk is not None and attempt._walk.replayed, pause_s=0)
    if why == "draining":
        executor.draining.set()
    else:
        attempt.stop(why)  # type: ignore[arg-type]
    assert attempt.task is not None
    await asyncio.wait_for(attempt.task, 10)
    assert attempt._walk is not None
    assert not attempt._walk.is_replayed
    assert executor.watching.replayed_rows < ROWS
    run = await stored.runs.get(run_id)
    expected = {"cancelled": ("cancelled", 1), "lost": ("running", 1)}.get(why, ("queued", 0))
    assert (run.status, run.attempt) == expected
    assert await stored.database.value("SELECT count(*) FROM steps") == ROWS
    assert await stored.database.value("SELECT count(*) FROM snapshots") == 0
    assert executor.model.calls == {}


async def test_no_more_than_two_runs_are_replayed_at_a_time(stored: Stored, attempts: Attempts) -> None:
    executor = attempts.executor(WireModel(hold={"a"}))
    for _ in range(3):
        await recorded(stored, attempts, 200)
    going = [executor.start(await executor.take()) for _ in range(3)]
    most = 0

    def all_replayed() -> bool:
        nonlocal most
        walks = [attempt._walk for attempt in going if attempt._walk is not None]
        most = max(most, sum(1 for walk in walks if walk.replayed and not walk.is_replayed))
        return len(walks) == 3 and all(walk.is_replayed for walk in walks)

    await eventually(all_replayed, pause_s=0)
    assert most == 2
