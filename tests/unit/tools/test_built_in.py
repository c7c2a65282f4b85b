"""What the built-in tools compute, what they refuse, and that none of them can be made to work for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowyard.language.tools import NO_RULES, ToolUse
from flowyard.tools.calling import call_tool
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.tool import Tool, ToolContext, ToolResult

TOOLS = ToolRegistry()
CONTEXT = ToolContext(key="run:node:1/0.0", now=datetime(2026, 11, 30, 23, 30, 15, 999, tzinfo=UTC))


def tool(name: str) -> Tool:
    found = TOOLS.get(name)
    assert found is not None
    return found


def called(name: str, arguments: Mapping[str, Any] | str) -> ToolResult:
    return asyncio.run(call_tool(tool(name), ToolUse(name), arguments, CONTEXT, NO_RULES))


@pytest.mark.parametrize("each", list(TOOLS), ids=lambda each: each.name)
def test_each_tool_has_a_closed_and_correct_schema(each: Tool) -> None:
    Draft202012Validator.check_schema(each.facts.parameters)
    assert each.facts.parameters["additionalProperties"] is False
    assert each.facts.description.endswith(".")
    assert each.facts.guarded is None or each.facts.guarded in each.facts.arguments


def test_the_time_is_that_of_the_zone() -> None:
    assert called("time.now", {"zone": "Asia/Tokyo"}).value == {
        "iso": "2026-12-01T08:30:15+09:00",
        "date": "2026-12-01",
        "time": "08:30:15",
        "weekday": "Tuesday",
        "zone": "Asia/Tokyo",
        "unix": 1796081415,
    }


def test_an_unknown_zone_is_answered_with_the_nearest_one() -> None:
    result = called("time.now", {"zone": "Europe/Pariss"})
    assert (result.outcome, result.error) == ("failed", "no time zone 'Europe/Pariss' (did you mean 'Europe/Paris'?)")


def test_no_zone_leads_to_another_file() -> None:
    assert called("time.now", {"zone": "../../../../etc/passwd"}).outcome == "failed"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 ** 64 + 1", 18446744073709551617),
        ("(1 + 0.5) * 4", 6.0),
        ("7 // 2 + 7 % 4", 6),
        ("-3 + +2", -1),
        ("max(1, 2, 3) - min(4, 2) + abs(-1)", 2),
        ("round(pi, 2)", 3.14),
        ("sqrt(16) + log(e)", 5.0),
        ("2 ** -1", 0.5),
        ("3 > 2", True),
        ("sum(1, 2, 3)", 6),
    ],
)
def test_arithmetic_is_computed(expression: str, value: float) -> None:
    assert called("math.eval", {"expression": expression}).value == value


def test_names_stand_for_the_variables() -> None:
    arguments = {"expression": "price * count", "variables": {"price": 2.5, "count": 4}}
    assert called("math.eval", arguments).value == 10.0


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("1 / 0", "division by zero"),
        ("9 ** 9 ** 9", "too many digits"),
        ("1" * 1300, "too many digits"),
        ("2 ** 4000 * 2 ** 4000", "too many digits"),
        ("(-8) ** 0.5", "no real number"),
        ("1e308 * 10", "no finite number"),
        ("sqrt(-1)", "no value"),
        ("x + 1", "no value for 'x'"),
        ("sqr(4)", "did you mean 'sqrt'?"),
        ("sqrt(1, 2)", "takes 1 arguments"),
        ("'a' * 1000000000", "isn't arithmetic"),
        ("[1] * 1000000000", "isn't arithmetic"),
        ("__import__('os').system('true')", "isn't arithmetic"),
        ("(1).__class__", "isn't arithmetic"),
        ("lambda: 1", "isn't arithmetic"),
        ("1 +", "the expression ends too early"),
        ("(" * 500 + "1" + ")" * 500, "isn't a valid expression"),
        ("True + 1", "isn't arithmetic"),
    ],
)
def test_what_is_no_arithmetic_is_refused(expression: str, error: str) -> None:
    result = called("math.eval", {"expression": expression})
    assert result.outcome == "failed"
    assert error in str(result.error)


PEOPLE = {"people": [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 17}]}


def test_a_query_picks_values() -> None:
    assert called("json.query", {"data": PEOPLE, "query": "people[?age > `30`].name"}).value == ["Ada"]


def test_a_text_with_json_is_data_too() -> None:
    assert called("json.query", {"data": '{"a": [1, 2]}', "query": "a[-1]"}).value == 2


@pytest.mark.parametrize(
    ("data", "query", "error"),
    [
        (PEOPLE, "people[", "can't be evaluated"),
        (PEOPLE, "lenght(people)", "can't be evaluated"),
        (PEOPLE, "abs('x')", "can't be evaluated"),
        ("{no json", "a", "no JSON"),
        ([1], "|".join(["[@, @]"] * 100), "more than 200,000 values"),
        ([1], "|".join(["[@, @][]"] * 100), "more than 200,000 values"),
        ([1], "|".join(["{a: @, b: @}"] * 60) + " | to_string(@)", "more than 200,000 values"),
    ],
)
def test_a_query_that_fails_or_doubles_its_data_is_refused(data: Any, query: str, error: str) -> None:
    result = called("json.query", {"data": data, "query": query})
    assert result.outcome == "failed"
    # On a loaded machine, its time may be over first.
    assert error in str(result.error) or "takes longer" in str(result.error)


def test_a_text_is_split_at_its_best_places() -> None:
    text = "First one. Second one.\n\nA new paragraph, which is longer."
    assert called("text.split", {"text": text, "size": 40}).value == [
        "First one. Second one.",
        "A new paragraph, which is longer.",
    ]
    assert called("text.split", {"text": "One two three. Four five.", "size": 18}).value == [
        "One two three.",
        "Four five.",
    ]


def test_parts_overlap_as_wanted_and_hold_all_of_the_text() -> None:
    parts = called("text.split", {"text": "0123456789" * 3, "size": 10, "overlap": 4}).value
    assert all(len(part) <= 10 for part in parts)
    assert parts[0] + "".join(part[4:] for part in parts[1:]) == "0123456789" * 3


def test_a_separator_cuts_and_nothing_else_does() -> None:
    assert called("text.split", {"text": "a; b c ;; d", "separator": ";"}).value == ["a", "b c", "d"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "a", "size": 10, "separator": ";"},
        {"text": "a", "size": 10, "overlap": 6},
        {"text": "ab" * 10_001, "size": 1},
        {"text": ";a" * 10_002, "separator": ";"},
    ],
)
def test_what_makes_no_sense_or_too_many_parts_is_refused(arguments: Mapping[str, Any]) -> None:
    assert called("text.split", arguments).outcome == "failed"
