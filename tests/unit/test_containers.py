"""How many lists and objects JSON has in it."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from flowyard.containers import MOST_CONTAINERS, TooManyContainers, count_containers, require_few_containers

MANY: Final = MOST_CONTAINERS + 1


def containers(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + sum(map(containers, inner))


@pytest.mark.parametrize(
    "value",
    [
        [[]] * MANY,
        {"a": [{}] * MANY},
        [{"[": ["{"]}] * MANY,
        [["\\"], ['"[{'], ["\\\\"], ['\\"{']] * (MANY // 2),
        ["[" * MANY, [], {"{": 1}],
        [["é"], [None], [1.5], {}] * (MANY // 2),
    ],
    ids=["lists", "objects", "brackets in strings", "escapes", "a long string", "mixed"],
)
def test_above_the_limit_the_count_is_exact(value: Any) -> None:
    assert count_containers(json.dumps(value)) == containers(value)
    assert count_containers(json.dumps(value, indent=1, ensure_ascii=False)) == containers(value)


@pytest.mark.parametrize("text", ['"' + "[" * MANY, "[" + '"\\', "[" * MANY + '"' + "{" * MANY, "\\" + "[" * MANY])
def test_what_is_no_json_is_counted_without_an_error(text: str) -> None:
    assert count_containers(text) in (0, 1, MANY)


def test_just_as_many_as_are_allowed_are_accepted() -> None:
    require_few_containers(json.dumps([[]] * (MOST_CONTAINERS - 1)))
    with pytest.raises(TooManyContainers, match="it has 125,001 lists and objects; at most 125,000 are allowed"):
        require_few_containers(json.dumps([[]] * MOST_CONTAINERS))


def test_a_hundred_thousand_rows_are_accepted() -> None:
    require_few_containers(json.dumps([{"id": 1, "name": "x", "score": 1.5}] * 100_000))
