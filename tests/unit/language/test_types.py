from __future__ import annotations

import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowyard.language.values.conform import MAX_PROBLEMS, conform
from flowyard.language.values.json_schema import json_schema, object_schema
from flowyard.language.values.types import (
    ANY,
    BOOL,
    DATE,
    DATETIME,
    FLOAT,
    INT,
    STR,
    Choice,
    DictOf,
    Limited,
    ListOf,
    Nullable,
    ObjectField,
    ObjectOf,
    Type,
    TypeSyntaxError,
    accepts,
    describe,
    parse_type,
)

PROFILE = ObjectOf(
    {
        "name": ObjectField(STR, required=True),
        "ages": ObjectField(ListOf(INT)),
        "level": ObjectField(FLOAT, has_default=True, default=1.0),
        "note": ObjectField(Nullable(STR)),
    }
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("str", STR),
        (" int ", INT),
        ("list", ListOf(ANY)),
        ("list[str]", ListOf(STR)),
        ("list[list[int]]", ListOf(ListOf(INT))),
        ("dict", DictOf(ANY)),
        ("dict[str, int]", DictOf(INT)),
        ("dict[str,list[float]]", DictOf(ListOf(FLOAT))),
        ("object", ObjectOf()),
        ("any", ANY),
        ("str | null", Nullable(STR)),
        ("null | str", Nullable(STR)),
        ("str?", Nullable(STR)),
        ("None | list[str | null]", Nullable(ListOf(Nullable(STR)))),
        ("any | null", ANY),
        ("date", DATE),
        ("datetime | null", Nullable(DATETIME)),
        ("'a'", Choice(("a",))),
        (""" 'a b'|"it's" """, Choice(("a b", "it's"))),
        ("'a' | null | 'b'", Nullable(Choice(("a", "b")))),
        ("dict[str, list['a' | 'b']]?", Nullable(DictOf(ListOf(Choice(("a", "b")))))),
    ],
)
def test_a_type_is_parsed(text: str, kind: Type) -> None:
    assert parse_type(text) == kind


@pytest.mark.parametrize(
    ("text", "offset", "hint"),
    [
        ("string", 0, "did you mean 'str'?"),
        ("number", 0, "did you mean 'float'?"),
        ("list[itn]", 5, "did you mean 'int'?"),
        ("dict[int, str]", 5, "dict[str"),
        ("dict[str]", 5, "dict[str, int]"),
        ("str | int", 6, "str | null"),
        ("list[str", 8, None),
        ("list[str]]", 9, "types:"),
        ("", 0, "types:"),
        ("null", 0, "str | null"),
        ("list[" * 30, 105, None),
        ("x" * 2001, 0, None),
        ("'a' | str", 6, "write 'str | null'"),
        ("'a' | \"a\"", 6, "remove one of the two"),
        ("'a", 0, "types:"),
        ("''", 0, "types:"),
    ],
)
def test_what_is_no_type_is_refused_at_its_character(text: str, offset: int, hint: str | None) -> None:
    with pytest.raises(TypeSyntaxError) as refused:
        parse_type(text)
    assert refused.value.offset == offset
    assert (hint or "") in (refused.value.suggestion or "")


@pytest.mark.parametrize(
    "text",
    [
        "str",
        "list",
        "list[int]",
        "dict",
        "dict[str, list[bool]]",
        "object",
        "str | null",
        "list['a' | \"it's\"] | null",
        "date",
    ],
)
def test_a_type_is_shown_as_it_is_written(text: str) -> None:
    assert describe(parse_type(text)) == text


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (STR, "a"),
        (INT, 3),
        (FLOAT, 0.5),
        (BOOL, True),
        (ListOf(INT), [1, 2]),
        (DictOf(STR), {"a": "b"}),
        (Nullable(STR), None),
        (ANY, {"a": [1, None, "x", {"b": False}]}),
        (ObjectOf(), {"free": ["form"]}),
        (Choice(("a", "b")), "b"),
        (DATE, "2024-02-29"),
        (DATETIME, "2026-01-31T10:00:00+00:00"),
        (Limited(INT, 1, 3), 3),
        (Limited(FLOAT, most=1), 0.5),
        (Limited(STR, pattern="a|b+"), "bb"),
        (Limited(ListOf(INT), 1, 2), [7]),
    ],
)
def test_a_fitting_value_stays_what_it_is(kind: Type, value: Any) -> None:
    problems: list[str] = []
    assert conform(kind, value, "x", problems) == value
    assert problems == []


def test_an_int_is_widened_to_a_float_and_nothing_else_is_converted() -> None:
    problems: list[str] = []
    widened = conform(DictOf(ListOf(FLOAT)), {"a": [1, 2.5]}, "x", problems)
    assert [type(number) for number in widened["a"]] == [float, float]
    assert problems == []


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (ListOf(INT), ["a"], "x[0]: expected int, got str 'a'"),
        (ListOf(INT), "a", "x: expected list[int], got str 'a'"),
        (DictOf(ListOf(BOOL)), {"a": [True, 1]}, "x.a[1]: expected bool, got int 1"),
        (INT, True, "x: expected int, got bool"),
        (INT, 1.0, "x: expected int, got float 1.0"),
        (FLOAT, "1", "x: expected float, got str '1'"),
        (FLOAT, True, "x: expected float, got bool"),
        (FLOAT, float("nan"), "x: nan isn't a finite number"),
        (FLOAT, 10**400, "x: the number isn't a finite number"),
        (BOOL, "true", "x: expected bool, got str 'true'"),
        (STR, 3, "x: expected str, got int 3"),
        (STR, None, "x: expected str, got null"),
        (Nullable(STR), 3, "x: expected str, got int 3"),
        (ANY, {"a": [float("inf")]}, "x.a[0]: inf isn't a finite number"),
        (ANY, object(), "x: object can't be stored as JSON"),
        (DictOf(ANY), {1: "a"}, "x: the key 1 isn't a text"),
        (PROFILE, {"name": "a", "agse": []}, "x.agse: no such field (did you mean 'ages'?)"),
        (PROFILE, {}, "x.name: missing"),
        (Choice(("Bill", "Tax")), "bill", "x: 'bill' isn't one of its values (did you mean 'Bill'?)"),
        (Choice(("a", "b")), 1, "x: expected 'a' | 'b', got int 1"),
        (DATE, "2026-02-29", "x: '2026-02-29' is no day of the calendar"),
        (DATE, "20260131", "x: '20260131' isn't a date such as 2026-01-31"),
        (DATETIME, "2026-01-31T10:00:00", "x: '2026-01-31T10:00:00' has no offset from UTC: add Z or +01:00"),
        (DATETIME, "2026-01-31", "x: '2026-01-31' isn't a time such as 2026-01-31T10:00:00Z"),
        (DATETIME, "0001-01-01T00:00:00+01:00", "x: '0001-01-01T00:00:00+01:00' is no time of the calendar"),
        (Limited(INT, 1, 3), 4, "x: must be at most 3, not 4"),
        (Limited(INT, 1, 3), "4", "x: expected int, got str '4'"),
        (ListOf(Limited(FLOAT, least=0.5)), [0.5, 0], "x[1]: must be at least 0.5, not 0.0"),
        (Limited(STR, pattern="a|b+"), "ab", "x: the text doesn't fit the pattern a|b+"),
        (Limited(STR, pattern="a"), "a\n", "x: the text doesn't fit the pattern a"),
        (Limited(ListOf(INT), 1, 2), [], "x: must have at least 1 items, not 0"),
        (Limited(ListOf(INT), 1, 2), [1, 2, 3], "x: must have at most 2 items, not 3"),
        (ListOf(PROFILE), [{"name": "a", "ages": [1, "b"]}], "x[0].ages[1]: expected int, got str 'b'"),
    ],
)
def test_a_mismatch_names_the_path(kind: Type, value: Any, problem: str) -> None:
    problems: list[str] = []
    conform(kind, value, "x", problems)
    assert problems == [problem]


def test_times_are_kept_in_utc_so_that_they_sort_as_texts() -> None:
    given = ["2026-01-31T10:00:00.5Z", "2026-01-31t10:00:00z", "2026-01-31 10:30:00+01:00", "2026-01-31T09:59:59-01:00"]
    problems: list[str] = []
    kept = conform(ListOf(DATETIME), given, "x", problems)
    assert problems == []
    assert sorted(kept) == [
        "2026-01-31T09:30:00+00:00", "2026-01-31T10:00:00+00:00", "2026-01-31T10:00:00.500000+00:00",
        "2026-01-31T10:59:59+00:00",
    ]  # fmt: skip


def test_a_pattern_takes_no_time_that_grows_faster_than_the_text() -> None:
    began = time.process_time()
    problems: list[str] = []
    conform(Limited(STR, pattern="(a+)+b"), "a" * 100_000, "x", problems)
    assert problems
    assert time.process_time() - began < 1


def test_many_words_that_are_no_choice_are_named_in_time() -> None:
    began = time.process_time()
    problems: list[str] = []
    conform(ListOf(Choice(tuple(f"word{i}" for i in range(500)))), [f"wort{i}" for i in range(20_000)], "x", problems)
    assert len(problems) == MAX_PROBLEMS + 1
    assert time.process_time() - began < 2


def test_every_mismatch_is_named() -> None:
    problems: list[str] = []
    conform(ListOf(INT), ["a", 1, None], "x", problems)
    assert problems == ["x[0]: expected int, got str 'a'", "x[2]: expected int, got null"]


def test_an_object_gets_its_defaults() -> None:
    assert conform(PROFILE, {"name": "a"}, "x", []) == {"name": "a", "level": 1.0, "note": None}


def test_a_complete_object_has_every_field_but_those_with_a_default_or_null() -> None:
    problems: list[str] = []
    conform(PROFILE, {}, "x", problems, complete=True)
    assert problems == ["x.name: missing", "x.ages: missing"]


def test_a_value_that_nests_without_end_is_refused() -> None:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    problems: list[str] = []
    conform(ANY, value, "x", problems)
    assert len(problems) == 1
    assert "nests deeper than 100 levels" in problems[0]


@pytest.mark.parametrize(
    ("target", "source", "fits"),
    [
        (FLOAT, INT, True),
        (INT, FLOAT, False),
        (INT, BOOL, False),
        (STR, INT, False),
        (ANY, INT, True),
        (INT, ANY, True),
        (Nullable(STR), STR, True),
        (STR, Nullable(STR), False),
        (ListOf(FLOAT), ListOf(INT), True),
        (ListOf(INT), ListOf(STR), False),
        (ListOf(INT), ListOf(ANY), True),
        (DictOf(INT), PROFILE, False),
        (ObjectOf(), PROFILE, True),
        (PROFILE, ObjectOf({"name": ObjectField(STR)}), True),
        (PROFILE, ObjectOf({"name": ObjectField(INT)}), False),
        (PROFILE, ObjectOf({"other": ObjectField(STR)}), False),
        (PROFILE, STR, False),
        (STR, Choice(("a",)), True),
        (STR, DATETIME, True),
        (Choice(("a", "b")), Choice(("a",)), True),
        (Choice(("a",)), Choice(("a", "b")), False),
        (Choice(("a",)), STR, False),
        (DATE, DATETIME, False),
        (Limited(INT, 1), FLOAT, False),
        (FLOAT, Limited(INT, 1), True),
        (Nullable(Limited(ListOf(FLOAT), 1)), ListOf(Limited(INT, 1)), True),
    ],
)
def test_a_type_accepts_what_always_fits(target: Type, source: Type, *, fits: bool) -> None:
    assert accepts(target, source) is fits


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (STR, "a", 1),
        (INT, 1, "a"),
        (BOOL, False, 0.5),
        (ListOf(INT), [1], ["a"]),
        (DictOf(FLOAT), {"a": 0.5}, {"a": "b"}),
        (Nullable(STR), None, 1),
        (PROFILE, {"name": "a", "ages": [1], "level": 1, "note": None}, {"name": "a"}),
        (PROFILE, {"name": "a", "ages": [], "level": 1, "note": "b"}, {"name": "a", "ages": [], "level": 1, "note": 1}),
        (ObjectOf(), {"a": 1}, []),
    ],
)
def test_the_json_schema_takes_what_the_type_takes(kind: Type, right: Any, wrong: Any) -> None:
    schema = json_schema(kind)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(right)
    assert not Draft202012Validator(schema).is_valid(wrong)


def test_a_reply_schema_is_closed_and_describes_its_fields() -> None:
    schema = object_schema({"poem": (STR, "In three lines"), "n": (INT, None)})
    assert schema["properties"] == {
        "poem": {"type": "string", "description": "In three lines"},
        "n": {"type": "integer"},
    }
    assert (schema["required"], schema["additionalProperties"]) == (["poem", "n"], False)
