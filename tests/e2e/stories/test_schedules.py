"""A schedule fires, and is looked at, paused and caught up by the command line."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from support.cli import CommandLine
from support.system import System
from support.visitor import JsonObject, Visitor
from support.waiting import eventually

SECOND: Final = timedelta(seconds=1)
TICKING: Final = """\
flow: {name: ticking}
state:
  fields:
    at: {type: datetime, required: true}
    number: {type: int, required: true}
    double: int
nodes:
  - {id: count, set: {double: {expr: number * 2}}}
triggers:
  second:
    schedule: {every: 1s, overlap: allow}
    inputs: {at: '{fire.at}', number: '{fire.number}'}
"""


@pytest.fixture
async def ticking(visitor: Visitor) -> AsyncIterator[str]:
    """The name of a workflow that runs each second until the test has ended."""
    await visitor.apply("ticking", TICKING)
    yield "ticking"
    assert (await visitor.http.delete("/v1/workflows/ticking")).is_success
    runs = (await visitor.get("/v1/runs", workflow="ticking", limit=100))["items"]
    await visitor.all_ended([run["id"] for run in runs])


async def fires(visitor: Visitor) -> list[JsonObject]:
    """Oldest first."""
    page = await visitor.get("/v1/deliveries", workflow="ticking", limit=100)
    return sorted(page["items"], key=lambda item: item["fire_at"])


def instants(items: list[JsonObject]) -> list[datetime]:
    return [datetime.fromisoformat(item["fire_at"]) for item in items]


async def test_each_instant_starts_one_run_except_while_the_schedule_is_paused(
    visitor: Visitor, cli: CommandLine, ticking: str
) -> None:
    async def at_least(count: int, after: datetime | None = None) -> bool:
        return sum(after is None or at > after for at in instants(await fires(visitor))) >= count

    await eventually(lambda: at_least(2))
    paused = await cli.data("triggers", "pause", ticking, "second")
    stopped = datetime.fromisoformat(paused["paused_at"])
    assert (paused["state"], paused["schedule"]["next"]) == ("paused", [])
    assert "paused" in await cli.output("triggers", "next", ticking, "second")
    # An instant passes.
    await eventually(lambda: time.time() > stopped.timestamp() + 1.2)
    before = instants(await fires(visitor))
    assert before[-1] <= stopped
    assert await cli.output("triggers", "resume", ticking, "second") == "ticking/second is active\n"
    await eventually(lambda: at_least(2, stopped))
    recorded = await fires(visitor)
    times = instants(recorded)
    assert before == [before[0] + SECOND * number for number in range(len(before))]
    after = times[len(before) :]
    assert after == [after[0] + SECOND * number for number in range(len(after))]
    assert after[0] > stopped + SECOND, "what was due while it was paused isn't caught up"
    assert {(at.microsecond, item["outcome"]) for at, item in zip(times, recorded, strict=True)} == {(0, "started")}
    runs = await visitor.all_ended([item["run_id"] for item in recorded])
    assert len({run["id"] for run in runs}) == len(runs)
    assert [datetime.fromisoformat(run["inputs"]["at"]) for run in runs] == times
    assert [run["inputs"]["number"] for run in runs] == list(range(1, len(runs) + 1))
    assert [run["outputs"] for run in runs] == [{"double": 2 * run["inputs"]["number"]} for run in runs]


async def test_fires_that_are_due_while_the_registry_is_killed_come_late_and_once(
    visitor: Visitor, system: System, ticking: str
) -> None:
    applied = datetime.fromisoformat((await visitor.get(f"/v1/triggers/{ticking}/second"))["created_at"])

    async def own() -> list[JsonObject]:
        """Since the schedule was applied again, the others are of an earlier test."""
        return [item for item in await fires(visitor) if datetime.fromisoformat(item["fire_at"]) > applied]

    async def last() -> datetime | None:
        return max(instants(await own()), default=None)

    await eventually(last)
    starts = await asyncio.to_thread(system.send, "registry", signal.SIGKILL)
    await system.back("registry", after=starts)
    back = datetime.now(UTC)

    async def goes_on() -> bool:
        at = await last()
        return at is not None and at > back

    await eventually(goes_on)
    recorded = await own()
    times = instants(recorded)
    assert times == [times[0] + SECOND * number for number in range(len(times))]
    runs = await visitor.all_ended([item["run_id"] for item in recorded])
    assert [datetime.fromisoformat(run["inputs"]["at"]) for run in runs] == times


async def test_the_command_line_shows_what_comes_and_starts_what_is_over(
    visitor: Visitor, cli: CommandLine, ticking: str
) -> None:
    (cli.folder / "ticking.yaml").write_text(TICKING)
    [shown] = (await cli.data("triggers", "test", "ticking.yaml"))["results"]
    assert (shown["outcome"], shown["inputs"]["number"], len(shown["next"])) == ("started", 1, 5)
    upcoming = [datetime.fromisoformat(at) for at in (await cli.data("triggers", "next", ticking, "second"))["next"]]
    assert upcoming == [upcoming[0] + SECOND * number for number in range(5)]
    begin = upcoming[0] - timedelta(hours=1)
    span = "--from", begin.isoformat(), "--to", (begin + 2 * SECOND).isoformat()
    assert await cli.data("triggers", "backfill", ticking, "second", *span) == {
        "fires": 3,
        "added": 3,
        "again": 0,
        "kept": 0,
    }

    async def started() -> list[JsonObject]:
        late = [item for item in await fires(visitor) if datetime.fromisoformat(item["fire_at"]) <= begin + 2 * SECOND]
        return late if [item["outcome"] for item in late] == ["started"] * 3 else []

    late: list[JsonObject] = await eventually(started)
    assert (await cli.data("triggers", "backfill", ticking, "second", *span))["kept"] == 3
    runs = await visitor.all_ended([item["run_id"] for item in late])
    assert [datetime.fromisoformat(run["inputs"]["at"]) for run in runs] == [begin + SECOND * n for n in range(3)]
    replayed = await visitor.ended((await cli.data("triggers", "replay", late[0]["id"]))["run_id"])
    assert (replayed["inputs"], replayed["id"] == runs[0]["id"]) == (runs[0]["inputs"], False)
    [trigger] = (await cli.data("triggers", "list", "--workflow", ticking))["items"]
    assert (trigger["kind"], trigger["state"]) == ("schedule", "active")
