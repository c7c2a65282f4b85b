"""Code that wants more time, memory or output than it may have: it fails, and the next job doesn't notice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import pytest

from support.sandboxes import MIB, Workers, job

_LIMIT: Final = 64 * MIB

BOMBS: Final = {
    "a number of a hundred million digits": "result = len(str(10**10**8))",
    "a text of 100 GB": "result = 'a' * 10**11",
    "a hundred thousand levels": "x = []\nfor i in range(100_000):\n    x = [x]\nresult = x",
    "a loop without end": "while True:\n    pass",
    "recursion without end": "def f(n):\n    return f(n + 1)\nresult = f(0)",
    "memory without end": "kept = []\nwhile True:\n    kept.append('x' * 1_000_000)",
    "many small objects": "kept = []\nwhile True:\n    kept.append([len(kept)])",
    "output without end": "while True:\n    print('x' * 1_000_000)",
    "a sleep again and again": "import time\nwhile True:\n    time.sleep(0.1)",
    "one long sleep": "import time\ntime.sleep(3600)\nresult = 1",
    "the text of a huge number": "result = str(7 ** 3_000_000)",
    "a dict of colliding keys": (
        "class K:\n    def __init__(self, n):\n        self.n = n\n    def __hash__(self):\n        return 1\n"
        "    def __eq__(self, other):\n        return self.n == other.n\n"
        "result = len({K(i): i for i in range(10**7)})"
    ),
    "a huge range": "result = sum(range(10**12))",
    "lists that double": "x = [1]\nfor i in range(60):\n    x = x + x\nresult = len(x)",
    "a wide format": "result = '{:>1000000000}'.format(1)",
    "a result that is too large": "result = 'x' * 3_000_000",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("code", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_fails_alone(workers: Workers, code: str) -> None:
    answer = workers.run(job(code, timeout=1.0, memory=_LIMIT, result=2_000_000))
    assert answer.ending in {"failed", "timeout", "memory", "too_large", "crashed"}
    assert len(answer.log) <= job("").log
    assert workers.run(job("result = 1")).result == "1"


@pytest.mark.timeout(120)
def test_a_pattern_that_takes_for_ever_is_stopped_or_is_none(workers: Workers) -> None:
    """Monty's patterns take no exponential time."""
    answer = workers.run(job("import re\nresult = bool(re.match('(a+)+$', 'a' * 40 + 'b'))", timeout=1.0))
    assert answer.ending == "timeout" or answer.result == "false"


@pytest.mark.timeout(120)
def test_a_million_small_prints_are_cut(workers: Workers) -> None:
    answer = workers.run(job("for i in range(1_000_000):\n    print('x')\nresult = 1", timeout=3.0, log=1000))
    assert answer.ending in {"done", "timeout"}
    assert answer.log == "x\n" * 500
    assert answer.cut > 0


ENDINGS: Final = {
    "a loop": ("while True:\n    pass", "timeout"),
    "a sleep": ("import time\ntime.sleep(3600)", "timeout"),
    "memory": ("kept = []\nwhile True:\n    kept.append('x' * 1_000_000)", "memory"),
    "a result": ("result = 'x' * 3_000_000", "too_large"),
    "an error": ("result = 1 / 0", "failed"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("code", "ending"), ENDINGS.values(), ids=ENDINGS.keys())
def test_an_answer_names_what_was_too_much(workers: Workers, code: str, ending: str) -> None:
    assert workers.run(job(code, timeout=8.0, memory=_LIMIT, result=2_000_000)).ending == ending


def test_inputs_and_result_may_have_half_a_megabyte(workers: Workers) -> None:
    numbers = list(range(80_000))
    answer = workers.run(job("result = numbers", {"numbers": numbers}, result=1_000_000))
    assert json.loads(answer.result) == numbers


def test_inputs_of_too_many_levels_are_a_failure(workers: Workers) -> None:
    deep = '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    assert workers.run(replace(job("result = 1"), inputs=deep)).ending == "failed"
    assert workers.run(job("result = 1")).result == "1"
