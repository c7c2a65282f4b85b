from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from flowyard_sandbox.pool import WorkerKind, open_pool
from support.sandboxes import MIB, TIERS, Workers, job, worker_kind
from support.waiting import eventually

ANSWERS: dict[str, tuple[str, Any]] = {
    "the inputs are variables": ("result = a + b", 3),
    "the inputs are a dict, too": ("result = inputs.get('a', 0) * 2", 2),
    "all of JSON": (
        "result = {'a': [1, 2.5, 'ü', None, True, {}], 'b': (1, 2)}",
        {"a": [1, 2.5, "ü", None, True, {}], "b": [1, 2]},
    ),
    "functions see what is global": ("import math\ndef f(n):\n    return math.floor(n) + a\nresult = f(2.5)", 3),
    "classes": ("class P:\n    def __init__(self, x):\n        self.x = x\nresult = P(b).x", 2),
    "any letters": ("result = text + '!'", "ü漢😀!"),
    "keys of other types": ("result = {1: 'a', None: 'c'}", {"1": "a", "null": "c"}),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_code_computes(workers: Workers, code: str) -> None:
    source, expected = ANSWERS[code]
    answer = workers.run(job(source, {"a": 1, "b": 2, "text": "ü漢😀"}))
    assert (answer.ending, answer.error) == ("done", "")
    assert json.loads(answer.result) == expected


@pytest.mark.parametrize(
    ("code", "error", "line"),
    [
        ("x = 1\n\n1 / 0", "ZeroDivisionError: division by zero", 3),
        ("def f():\n    raise ValueError('no')\nf()", "ValueError: no", 2),
        ("x = 1", "the code doesn't assign 'result'", None),
        ("result = {1, 2}", "TypeError: Object of type set is not JSON serializable", None),
    ],
)
def test_a_failure_has_its_error_and_its_line(workers: Workers, code: str, error: str, line: int | None) -> None:
    answer = workers.run(job(code))
    assert (answer.ending, answer.error) == ("failed", error)
    assert line is None or answer.line == line


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "{1, 2}", "len", "b'x'", "object()"])
def test_a_result_that_json_does_not_have_is_a_failure(workers: Workers, value: str) -> None:
    assert workers.run(job(f"result = {value}")).ending == "failed"


def test_what_is_printed_is_the_log(workers: Workers) -> None:
    assert workers.run(job("print('a', 1)\nprint('b', end='')\nresult = 1")).log == "a 1\nb"


def test_the_whole_language_and_its_library_are_in_the_full_tier(full: Workers) -> None:
    code = "import statistics, enum\nclass C(enum.Enum):\n    A = 1\ndef g():\n    yield statistics.mean([1, 3])\n"
    assert json.loads(full.run(job(code + "result = [*g(), C.A.value]")).result) == [2, 1]


def test_both_tiers_are_confined_by_what_this_kernel_has(workers: Workers) -> None:
    workers.run(job("result = 1"))
    worker = workers.pool.worker
    assert worker is not None
    assert worker.seccomp
    assert worker.landlock > 0


@pytest.mark.parametrize("tier", TIERS)
async def test_a_worker_that_dies_is_replaced_and_its_job_has_crashed(tier: str) -> None:
    async with open_pool(worker_kind(tier), size=1) as pool:
        await pool.run(job("result = 1"))
        first = pool.worker
        assert first is not None
        crashing = asyncio.create_task(pool.run(job("while True:\n    pass")))
        await eventually(lambda: pool.running == 1)
        os.killpg(first.process.pid, signal.SIGKILL)
        assert (await crashing).ending == "crashed"
        assert (await pool.run(job("result = 2"))).result == "2"
        assert pool.worker is not first


async def test_jobs_wait_in_the_order_in_which_they_have_come() -> None:
    ended: list[int] = []

    async def run(number: int) -> None:
        await pool.run(job(f"result = {number}"))
        ended.append(number)

    async with open_pool(worker_kind("fast"), size=1) as pool:
        tasks = [asyncio.create_task(run(number)) for number in range(50)]
        await eventually(lambda: pool.waiting > 0)
        await asyncio.gather(*tasks)
    assert ended == list(range(50))
    assert pool.waiting == 0


async def test_a_worker_is_replaced_after_its_jobs() -> None:
    async with open_pool(worker_kind("fast", jobs=1), size=1) as pool:
        await pool.run(job("result = 1"))
        first = pool.worker
        await pool.run(job("result = 1"))
        assert pool.worker is not first


async def test_nobody_has_to_wait_for_jobs_that_nobody_waits_for() -> None:
    async with open_pool(worker_kind("fast"), size=1) as pool:
        given_up = [asyncio.create_task(pool.run(job("while True:\n    pass", timeout=5.0))) for _ in range(20)]
        await eventually(lambda: pool.waiting)
        for task in given_up:
            task.cancel()
        assert (await pool.run(job("result = 1"))).result == "1"


async def test_a_worker_that_does_not_start_says_why() -> None:
    async with open_pool(WorkerKind(tier="full", files=["/nowhere"], memory=1024 * MIB), size=1) as pool:
        answer = await pool.run(job("result = 1"))
        assert answer.ending == "crashed"
        assert "No such file" in answer.error
        assert "No such file" in str(pool.fault)


async def test_no_process_is_left_when_a_pool_closes() -> None:
    async with open_pool(worker_kind("fast"), size=1) as pool:
        await pool.run(job("result = 1"))
        worker = pool.worker
        assert worker is not None
    assert worker.process.returncode is not None
    await eventually(lambda: not _group_lives(worker.process.pid))


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
