"""The calls of tools in a reply, put together from what servers send."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.llm.calls import ToolCall
from flowyard.llm.event_stream import BrokenReply
from flowyard.llm.tool_calls import MOST_CALLS, ToolCalls


def piece(index: int | None = None, id_: str | None = None, name: str | None = None, arguments: Any = None) -> Any:
    given: dict[str, Any] = {} if index is None else {"index": index}
    if id_ is not None:
        given |= {"id": id_, "type": "function"}
    return {**given, "function": {"name": name, "arguments": arguments}}


def collected(*deltas: Any, limit: int = 1000) -> tuple[ToolCall, ...]:
    calls = ToolCalls(limit)
    for delta in deltas:
        calls.add(delta if isinstance(delta, list) else [delta])
    return calls.end()


A, B = ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "g", "{}")


@pytest.mark.parametrize(
    "deltas",
    [
        [piece(0, "a", "f", '{"x": 1}'), piece(1, "b", "g", "{}")],
        [piece(0, "a", "f", ""), piece(0, arguments='{"x"'), piece(0, arguments=": 1}"), piece(1, "b", "g", "{}")],
        # In turns.
        [piece(0, "a", "f"), piece(1, "b", "g"), piece(0, arguments='{"x": 1}'), piece(1, arguments="{}")],
        # Several in one delta.
        [[piece(0, "a", "f", '{"x": 1}'), piece(1, "b", "g", "{}")]],
        # The id and the name with each piece.
        [piece(0, "a", "f", '{"x"'), piece(0, "a", "f", ": 1}"), piece(1, "b", "g", "{}")],
        # The same index for all calls.
        [piece(0, "a", "f", '{"x": 1}'), piece(0, "b", "g", "{}")],
        # No index at all.
        [piece(None, "a", "f", '{"x"'), piece(None, arguments=": 1}"), piece(None, "b", "g", "{}")],
        # The arguments as an object, and none for a tool without parameters.
        [piece(0, "a", "f", {"x": 1}), piece(1, "b", "g", "")],
    ],
)
def test_pieces_of_one_call_belong_together(deltas: list[Any]) -> None:
    assert collected(*deltas) == (A, B)


def test_calls_without_ids_get_some() -> None:
    calls = collected(piece(None, None, "f", {"x": 1}), piece(None, None, "f", {"x": 2}))
    assert [(call.id, call.arguments) for call in calls] == [("call_1", '{"x": 1}'), ("call_2", '{"x": 2}')]


def test_an_empty_list_or_nothing_is_no_call() -> None:
    calls = ToolCalls(10)
    nothings: list[Any] = [None, [], "", {}]
    for nothing in nothings:
        calls.add(nothing)
    assert calls.end() == ()


def test_half_a_character_is_replaced() -> None:
    smile = json.loads('"\\ud83d\\ude00"')
    first, second = '"\ud83d', '\ude00"'
    assert collected(piece(0, "a", "f", first), piece(0, arguments=second))[0].arguments == f'"{smile}"'
    assert collected(piece(0, "a", "f", first))[0].arguments == '"\ufffd'


def test_what_is_too_much_is_refused() -> None:
    with pytest.raises(BrokenReply, match="larger than 10 bytes"):
        collected(piece(0, "a", "f", "é" * 5), limit=10)
    with pytest.raises(BrokenReply, match=f"more than {MOST_CALLS} tools"):
        collected(*(piece(i, f"id{i}", "f", "") for i in range(MOST_CALLS + 1)))
    with pytest.raises(BrokenReply, match="without a name"):
        collected(piece(0, "a", None, "{}"))


@given(
    calls=st.lists(st.tuples(st.text("abc", min_size=1), st.dictionaries(st.text(), st.integers())), max_size=4),
    cuts=st.lists(st.integers(0, 60)),
    together=st.booleans(),
)
def test_however_the_arguments_are_cut_the_calls_are_the_same(
    calls: list[tuple[str, dict[str, int]]], cuts: list[int], *, together: bool
) -> None:
    deltas = []
    for number, (name, arguments) in enumerate(calls):
        text = json.dumps(arguments)
        places = sorted({cut for cut in cuts if cut < len(text)} | {0, len(text)})
        pieces = [text[start:end] for start, end in pairwise(places)]
        deltas.append(piece(number, f"id{number}", name, ""))
        deltas += [piece(number, arguments=part) for part in pieces]
    made = collected(deltas, limit=10_000) if together else collected(*deltas, limit=10_000)
    assert [(call.id, call.name, json.loads(call.arguments)) for call in made] == [
        (f"id{i}", name, arguments) for i, (name, arguments) in enumerate(calls)
    ]
