"""The service: what executors send it by NATS, from processes with the permissions that they have in a stack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from flowyard.bus.code_messages import CodeFollow, CodeState
from flowyard.errors.steps import CodeCrashed, CodeError, CodeTimeout, SandboxUnavailable
from flowyard.language.code_bounds import CodeBounds
from flowyard.language.nodes import CodeTier
from flowyard_embedded.servers.nats import NatsServer
from support.sandbox_service import BYTES, Place, RunningSandbox, call, open_place, running_nats
from support.waiting import eventually

FOR_EVER = "while True:\n    pass\nresult = 1"


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    with running_nats() as nats:
        yield nats


@pytest.fixture
async def place(nats: NatsServer) -> AsyncIterator[Place]:
    async with open_place(nats) as place:
        yield place


async def _running(sandbox: RunningSandbox) -> bool:
    return await sandbox.metric("flowyard_sandbox_jobs_running") == 1


async def _knows_that_it_runs(place: Place, sandbox: RunningSandbox) -> None:
    """Also the executor does: what comes later is answered later."""
    await eventually(lambda: _running(sandbox))
    await place.bus.request(CodeFollow(sandbox=place.alive[-1].sandbox, job="0" * 32), CodeState, within_s=20)


@pytest.mark.parametrize("tier", ["fast", "full"])
async def test_code_is_executed(place: Place, tier: CodeTier) -> None:
    async with place.sandbox():
        ran = await place.run(call("print(a)\nresult = a + 1", '{"a": 1}', tier=tier))
        assert (ran.result, ran.log) == ("2", "1\n")


async def test_a_failure_is_the_codes(place: Place) -> None:
    async with place.sandbox():
        with pytest.raises(CodeError, match="line 2: ZeroDivisionError: division by zero") as failed:
            await place.run(call("print(1)\n1 / 0\nresult = 1"))
        assert failed.value.log == "1\n"
        with pytest.raises(CodeTimeout, match=r"longer than 0\.5 s"):
            await place.run(call(FOR_EVER, timeout=0.5))


async def test_what_a_message_holds_arrives_whole_and_more_is_refused(place: Place) -> None:
    """JSON within JSON would have twice as many bytes."""
    text = json.dumps({"a": '"\\' * 180_000})
    assert len(text) < BYTES < len(json.dumps(text)) - BYTES // 2
    async with place.sandbox():
        assert (await place.run(call("result = a", text))).result == json.dumps(json.loads(text)["a"])
        with pytest.raises(CodeError, match="bytes as JSON, more than 786,432"):
            await place.run(call("result = 'ü' * 200_000"))
        with pytest.raises(CodeError, match="the code and its inputs have"):
            await place.run(call("result = 1", json.dumps({"a": "x" * (1 << 20)})))


async def test_an_error_that_utf8_can_not_hold_arrives(place: Place) -> None:
    async with place.sandbox():
        with pytest.raises(CodeError, match=r"ValueError: a\?b"):
            await place.run(call("raise ValueError('a\\ud800b')\nresult = 1", tier="full"))


async def test_a_long_execution_is_followed_until_it_ends(place: Place) -> None:
    async with place.sandbox():
        assert (await place.run(call("import time\ntime.sleep(3)\nresult = 1"))).result == "1"


async def test_a_flood_waits_in_order_and_can_be_seen(place: Place) -> None:
    ended: list[int] = []

    async def run(number: int) -> None:
        ran = await place.run(call(f"import time\ntime.sleep(0.02)\nresult = {number}"))
        ended.append(json.loads(ran.result))

    async with place.sandbox(sandbox_workers=2) as sandbox:
        flood = [asyncio.create_task(run(number)) for number in range(200)]

        async def many_wait() -> bool:
            return await sandbox.metric("flowyard_sandbox_jobs_waiting") > 10

        await eventually(many_wait)
        await asyncio.gather(*flood)
        assert await sandbox.metric("flowyard_sandbox_jobs_waiting") == 0
    # Two work side by side, so that neighbours may change places.
    assert sorted(ended) == list(range(200))
    assert all(abs(place_ - number) <= 2 for place_, number in enumerate(ended))


async def test_more_than_the_queue_holds_is_taken_later(place: Place) -> None:
    async with place.sandbox(sandbox_workers=1, sandbox_queue=2) as sandbox:
        work = [place.run(call("import time\ntime.sleep(0.1)\nresult = 1")) for _ in range(8)]
        assert [ran.result for ran in await asyncio.gather(*work)] == ["1"] * 8
        assert await sandbox.metric("flowyard_sandbox_busy_total") > 0


async def test_without_a_sandbox_a_step_fails_and_may_be_tried_again(place: Place) -> None:
    with pytest.raises(SandboxUnavailable, match="no sandbox takes code"):
        await place.run(call("result = 1"), patience_s=0.5)


async def test_a_sandbox_that_starts_a_moment_later_is_early_enough(place: Place) -> None:
    work = asyncio.create_task(place.run(call("result = 1")))
    async with place.sandbox():
        assert (await work).result == "1"


async def test_what_a_lost_sandbox_had_is_executed_by_another(place: Place) -> None:
    async with place.sandbox() as first:
        work = asyncio.create_task(place.run(call("import time\ntime.sleep(4)\nresult = 1")))
        await eventually(lambda: _running(first))
        async with place.sandbox():
            first.process.kill()
            assert (await work).result == "1"


async def test_code_that_two_sandboxes_did_not_survive_has_crashed(place: Place) -> None:
    async with place.sandbox() as first:
        work = asyncio.create_task(place.run(call(FOR_EVER, timeout=50.0)))
        await _knows_that_it_runs(place, first)
        first.process.kill()
        async with place.sandbox() as second:
            await _knows_that_it_runs(place, second)
            second.process.kill()
            with pytest.raises(CodeCrashed, match="2 sandboxes have ended, or don't answer"):
                await work


async def test_a_cancelled_step_stops_its_code(place: Place) -> None:
    async with place.sandbox(sandbox_workers=1) as sandbox:
        work = asyncio.create_task(place.run(call(FOR_EVER, timeout=50.0)))
        await eventually(lambda: _running(sandbox))
        work.cancel()
        assert (await place.run(call("result = 1"))).result == "1"


async def test_the_code_of_an_executor_that_is_gone_is_stopped(place: Place, nats: NatsServer) -> None:
    async with place.sandbox(sandbox_workers=1) as sandbox:
        async with open_place(nats) as other:
            work = asyncio.create_task(other.run(call(FOR_EVER, timeout=50.0)))
            await eventually(lambda: _running(sandbox))
        # Without its connection it can't say that it has been cancelled.
        work.cancel()
        assert (await place.run(call("result = 1"), patience_s=40)).result == "1"


async def test_a_sandbox_that_drains_finishes_what_is_at_work_and_gives_back_what_waits(place: Place) -> None:
    async with place.sandbox(sandbox_workers=1, grace_s=30) as first:
        at_work = asyncio.create_task(place.run(call("import time\ntime.sleep(2)\nresult = 1")))
        await eventually(lambda: _running(first))
        waits = asyncio.create_task(place.run(call("result = 2")))
        async with place.sandbox():
            assert await first.end() == 0
            assert (await at_work).result == "1"
            assert (await waits).result == "2"


async def test_a_sandbox_knows_no_jobs_but_its_own(place: Place) -> None:
    async with place.sandbox():
        question = CodeFollow(sandbox=place.alive[-1].sandbox, job="0" * 32)
        state = await place.bus.request(question, CodeState, within_s=20)
        assert state is not None
        assert state.state == "gone"


async def test_the_settings_bound_what_code_asks_for(place: Place) -> None:
    async with place.sandbox(sandbox_tiers="fast", sandbox_timeout_s=1):
        with pytest.raises(CodeError, match="the tier 'full' isn't allowed here"):
            await place.run(call("result = 1", tier="full", timeout=1.0))
        with pytest.raises(CodeTimeout, match="longer than 1 s"):
            await place.run(call(FOR_EVER), bounds=CodeBounds(timeout=1.0))
