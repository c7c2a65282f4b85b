"""JSON of many values, encoded and decoded in parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import thread_time
from typing import Any, Final

import pytest

from flowyard.errors.runs import CommitRefused
from flowyard.large_json import COMPACT, LIGHT, decoded, encoded, encoded_each, is_light, is_light_text, loads, parts
from flowyard.runs.large_values import json_bytes, sizes_of
from flowyard.storage.database import dumps
from support.holding import LONGEST_S

SIZE: Final = 1_000_000
"""Bytes of JSON, about."""
SORTED: Final = json.JSONEncoder(sort_keys=True)


def nested(depth: int) -> Any:
    value: Any = list(range(LIGHT))
    for _ in range(depth):
        value = [value, {"a": 1}]
    return value


LARGE: Final[dict[str, Any]] = {
    "numbers": [1] * (SIZE // 2),
    "texts": ["a"] * (SIZE // 4),
    "objects": [{"a": 1.5}] * (SIZE // 10),
    "empty lists": [[]] * (SIZE // 3),
    "keys": {f"k{-number}": None for number in range(SIZE // 12)},
    "lists of lists": [[[1] * 50_000] * 5] * 3,
    "deep": nested(90),
    "one long text": {"a": "x" * SIZE},
    "escapes": ['\\"[{,é' * 100_000, [0] * LIGHT],
}


@pytest.mark.parametrize("what", LARGE)
async def test_large_json_is_the_same_in_parts(what: str) -> None:
    text = await encoded(LARGE[what])
    assert text == COMPACT.encode(LARGE[what])
    assert await decoded(text) == LARGE[what]
    spaced = SORTED.encode(LARGE[what])
    assert "".join(parts(LARGE[what], SORTED)) == spaced
    assert loads(spaced) == LARGE[what]


@pytest.mark.parametrize("what", LARGE)
def test_no_part_takes_long(what: str) -> None:
    assert min(max(times_of(parts(LARGE[what]))) for _ in range(3)) < LONGEST_S


def times_of(work: Iterator[object]) -> Iterator[float]:
    began = thread_time()
    for _ in work:
        yield thread_time() - began
        began = thread_time()


@pytest.mark.parametrize("value", [None, "", {}, [], {"a": [1, {"b": None}]}, "x" * 1_000_000, list(range(1_000))])
def test_what_is_light_is_encoded_and_decoded_at_once(value: Any) -> None:
    text = COMPACT.encode(value)
    assert is_light(value)
    assert is_light_text(text)
    assert list(parts(value)) == [text]


@pytest.mark.parametrize("value", [[1] * (LIGHT + 1), {"a": ["b"] * LIGHT}, "x" * 64 * (LIGHT + 1)])
def test_what_is_heavy_is_not(value: Any) -> None:
    assert not is_light(value)
    assert not is_light_text(COMPACT.encode(value))


@pytest.mark.parametrize("end", ["", "]]", "x", "}", '"'])
def test_heavy_text_that_is_no_json_is_refused(end: str) -> None:
    text = json.dumps([[1] * LIGHT, [2] * LIGHT])[:-1] + end
    with pytest.raises(ValueError, match=r".+"):
        loads(text)


def test_what_json_cant_hold_is_refused_in_parts_too() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        list(parts([[0] * LIGHT, float("inf")]))


@pytest.mark.parametrize("what", LARGE)
async def test_large_values_carry_their_json(what: str) -> None:
    values = {"a": LARGE[what], 'b"': 1}
    carrying = await encoded_each(values)
    assert carrying == values
    assert dumps(carrying) == COMPACT.encode(values)
    assert sizes_of(carrying) == {name: json_bytes(value) for name, value in values.items()}


async def test_large_values_that_json_cant_hold_are_refused_where_they_are_stored() -> None:
    carrying = await encoded_each({"a": [0] * LIGHT, "b": float("inf")})
    assert sizes_of(carrying) == {"a": 0, "b": 0}
    with pytest.raises(CommitRefused, match="Out of range float"):
        dumps(carrying)


async def test_small_values_stay_as_they_are() -> None:
    values = {"a": [1] * 1_000}
    assert await encoded_each(values) is values
