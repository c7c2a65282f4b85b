"""An executor that has little memory left, and runs that were at work when executors were lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from flowyard_executor.memory import Memory, MemoryMeter
from support.attempts import WireModel, held
from support.executors import Yard
from support.in_process import executing
from support.stories import CHAIN
from support.waiting import eventually


def of(percent: int) -> Memory:
    return Memory(percent << 20, 100 << 20)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_memory_is_that_of_the_control_group_with_the_smallest_limit(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    write(proc / "self/cgroup", "0::/pods/one\n")
    write(proc / "self/statm", "1 100 0 0 0 0 0\n")
    write(groups / "pods/one/memory.max", "max\n")
    write(groups / "pods/memory.max", "1000000000\n")
    write(groups / "pods/memory.current", "900000000\n")
    write(groups / "pods/memory.stat", "anon 1\ninactive_file 300000000\n")
    assert MemoryMeter(proc=proc, cgroups=groups).read() == Memory(600_000_000, 1_000_000_000)
    assert MemoryMeter(2_000_000_000, proc=proc, cgroups=groups).read().limit == 2_000_000_000


@pytest.mark.parametrize("inside", [False, True], ids=["on the host", "in a container"])
def test_control_groups_of_version_1_count_too(tmp_path: Path, *, inside: bool) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    group = groups / "memory" / ("" if inside else "docker/one")
    write(proc / "self/cgroup", "4:memory:/docker/one\n1:cpu:/docker/one\n0::/docker/one\n")
    write(groups / "memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(group / "memory.limit_in_bytes", "1000000000\n")
    write(group / "memory.usage_in_bytes", "900000000\n")
    write(group / "memory.stat", "inactive_file 1\ntotal_inactive_file 300000000\n")
    assert MemoryMeter(proc=proc, cgroups=groups).read() == Memory(600_000_000, 1_000_000_000)


def test_without_a_control_group_it_is_that_of_the_machine(tmp_path: Path) -> None:
    write(tmp_path / "self/statm", "9 100 0 0 0 0 0\n")
    write(tmp_path / "meminfo", "MemTotal:  2048 kB\nMemFree:  1 kB\n")
    memory = MemoryMeter(proc=tmp_path, cgroups=tmp_path / "none").read()
    assert (memory.limit, memory.used > 0) == (2048 * 1024, True)


def test_the_memory_of_this_process_is_known() -> None:
    memory = MemoryMeter().read()
    assert 0.0 < memory.fraction < 1.0


async def lost_twice(yard: Yard, run_id: UUID) -> None:
    """As if two executors had been lost while it was at work."""
    await yard.database.execute("UPDATE runs SET attempt = 2 WHERE id = $1", run_id)


async def test_with_little_memory_nothing_is_claimed_until_the_executor_is_idle(yard: Yard, wire: WireModel) -> None:
    may_go = asyncio.Event()
    wire.answers["first"] = held(may_go)
    await yard.submit(await yard.apply(CHAIN), topic="rain")
    async with executing(yard) as one:
        await eventually(lambda: wire.calls["first"])
        load = one.parts.load
        assert load.free(32) == 31
        load.act(of(85))
        assert (one.count("executor_memory_fraction"), one.count("executor_memory_limit_fraction")) == (0.85, 0.8)
        assert load.free(32) == 0
        # Also where more than one may run while memory is short.
        load._fewer = 2
        assert load.free(32) == 0
        load._fewer = 1
        may_go.set()
        await eventually(lambda: not one.parts.running)
        load.act(of(85))
        assert load.free(32) == 1
        load.act(of(79))
        assert load.free(32) == 1
        load._fewer_until = 0
        assert load.free(32) == 32


async def test_with_less_the_newest_half_of_its_runs_is_handed_back_between_two_steps(
    yard: Yard, wire: WireModel
) -> None:
    may_go = asyncio.Event()
    wire.answers["first"] = held(may_go)
    name = await yard.apply(CHAIN)
    runs = [await yard.submit(name, topic="rain") for _ in range(4)]
    async with executing(yard) as one:
        await eventually(lambda: wire.calls["first"] == 4)
        one.parts.load.act(of(86))
        may_go.set()
        ended = [await yard.ended(run_id) for run_id in runs]
    assert [(run.status, run.attempt) for run in ended] == [("succeeded", 1)] * 4
    reasons = [[e.data.get("reason") for e in await yard.entries(run_id) if e.type == "run.queued"] for run_id in runs]
    assert sorted(map(len, reasons)) == [1, 1, 2, 2]
    assert wire.calls["first"] == 4


async def test_before_the_kernel_would_the_newest_run_is_stopped_and_the_others_go_on(
    yard: Yard, wire: WireModel
) -> None:
    may_go = asyncio.Event()
    wire.answers["first"] = held(may_go)
    name = await yard.apply(CHAIN)
    runs = [await yard.submit(name, topic="rain") for _ in range(2)]
    async with executing(yard) as one:
        await eventually(lambda: wire.calls["first"] == 2)
        one.parts.load.act(of(91))
        await eventually(lambda: len(one.parts.running) == 1)
        [goes_on] = one.parts.running
        [stopped] = [run_id for run_id in runs if run_id != goes_on]
        may_go.set()
        assert (await yard.ended(goes_on)).status == "succeeded"
        assert (await yard.runs.get(stopped)).status == "running"


async def test_as_many_runs_are_stopped_as_use_too_much(yard: Yard, wire: WireModel) -> None:
    wire.answers["first"] = held(asyncio.Event())
    name = await yard.apply(CHAIN)
    for number in range(8):
        await yard.submit(name, topic=str(number))
    async with executing(yard) as one:
        await eventually(lambda: wire.calls["first"] == 8)
        # Each has 11 MB of it: 80 MB are left to the others with three fewer.
        load = one.parts.load
        load._idle_bytes = 22 << 20
        load.act(of(110))
        await eventually(lambda: len(one.parts.running) == 5)


async def test_a_run_executed_alone_that_takes_too_much_fails_and_its_executor_goes_on(
    yard: Yard, wire: WireModel
) -> None:
    wire.hold.add("first")
    name = await yard.apply(CHAIN)
    suspect = await yard.submit(name, topic="rain")
    await lost_twice(yard, suspect)
    async with executing(yard, poll_s=0.1) as one:
        await wire.holding.wait()
        one.parts.load.act(of(91))
        error = (await yard.ended(suspect)).error
        wire.hold.clear()
        other = await yard.submit(name, topic="snow")
        one.parts.load.act(of(10))
        await eventually(lambda: not one.parts.running)
        assert (await yard.ended(other, within_s=20)).status == "succeeded"
    assert error is not None
    assert error.code == "executor_lost"
    assert "2 executors were lost while it was at work, and executed alone it takes too much memory" in error.message
    assert "it used 91 of 100 MB of memory and " in error.message


async def test_a_run_that_may_be_the_cause_is_executed_alone(yard: Yard, wire: WireModel) -> None:
    may_go = asyncio.Event()
    wire.answers["first"] = held(may_go)
    name = await yard.apply(CHAIN)
    runs = [await yard.submit(name, topic=str(number)) for number in range(3)]
    await lost_twice(yard, runs[2])
    async with executing(yard, poll_s=0.1) as one:
        await eventually(lambda: wire.calls["first"])
        await asyncio.sleep(0.5)
        assert list(one.parts.running) == [runs[2]]
        may_go.set()
        assert {(await yard.ended(run_id)).status for run_id in runs} == {"succeeded"}


@pytest.mark.parametrize("others", [1, 3])
async def test_a_busy_executor_makes_room_for_it(yard: Yard, wire: WireModel, others: int) -> None:
    may_go = asyncio.Event()
    wire.answers["first"] = held(may_go)
    name = await yard.apply(CHAIN)
    busy = [await yard.submit(name, topic=str(number)) for number in range(others)]
    async with executing(yard, poll_s=0.1, sweep_s=0.1) as one:
        await eventually(lambda: wire.calls["first"] == others)
        load = one.parts.load
        # It claims nothing while the run becomes a suspect.
        load.act(of(85))
        suspect = await yard.submit(name, topic="suspect")
        await lost_twice(yard, suspect)
        load.act(of(10))
        load._fewer_until = 0
        await eventually(lambda: load.free(32) == 0)
        may_go.set()
        ended = [await yard.ended(run_id) for run_id in [suspect, *busy]]
    assert {run.status for run in ended} == {"succeeded"}
    assert all(run.finished_at and ended[0].finished_at and run.finished_at > ended[0].finished_at for run in ended[1:])


async def test_runs_that_are_executed_alone_do_not_make_room_for_each_other(yard: Yard, wire: WireModel) -> None:
    may_go = asyncio.Event()
    wire.answers["first"] = held(may_go)
    name = await yard.apply(CHAIN)
    suspects = [await yard.submit(name, topic=str(number)) for number in range(2)]
    for run_id in suspects:
        await lost_twice(yard, run_id)
    async with executing(yard, poll_s=0.1, sweep_s=0.1) as one:
        await eventually(lambda: wire.calls["first"])
        await yard.database.execute("UPDATE runs SET queued_at = now() - interval '5 s' WHERE status = 'queued'")
        await asyncio.sleep(2)
        may_go.set()
        assert {(await yard.ended(run_id)).status for run_id in suspects} == {"succeeded"}
        assert one.count("runs_claimed_total") == 2


async def test_other_runs_have_their_turn_between_two_suspects(yard: Yard, wire: WireModel) -> None:
    name = await yard.apply(CHAIN)
    suspects = [await yard.submit(name, topic=f"suspect {number}") for number in range(3)]
    for run_id in suspects:
        await lost_twice(yard, run_id)
    other = await yard.submit(name, topic="other")
    async with executing(yard, poll_s=0.1, sweep_s=0.1):
        ended = [await yard.ended(run_id) for run_id in [*suspects, other]]
    first, second, *_ = sorted(ended, key=lambda run: run.finished_at or run.created_at)
    assert (first.id, second.id) == (suspects[0], other)
