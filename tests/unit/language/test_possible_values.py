"""Comparisons whose result is known before a run are told, and no others."""

from __future__ import annotations

import json

import pytest

from flowyard.language.load import load_text
from flowyard.language.problems import Problem

DOCUMENT = """
flow: {name: constant}
state:
  fields:
    topic: {type: str, required: true}
    n: {type: int, min: 1, max: 5}
    m: {type: int, min: 1, max: 5, default: 2}
    sum: {type: int, max: 5, reduce: add}
    share: {type: float, min: 0, max: 1}
    kind: {type: str, enum: [Billing, technical]}
    other: {type: str, enum: [technical, other], default: other}
    names: {type: 'list[str]', max_items: 3}
    all: {type: 'list[str]', max_items: 3, reduce: extend}
    lengths: {type: 'list[int]', max_items: 3}
    thing: {type: object, schema: {a: {type: int, max: 3}, b: {type: str, enum: [x, y]}}}
    free: any
nodes:
  - {id: write, prompt: '{topic}', outputs: [n, share, kind, names, sum, all, thing, free]}
  - {id: count, prompt: '{item}', outputs: [lengths]}
  - {id: check, assert: CONDITION}
edges:
  - {from: START, to: write}
  - {from: write, parallel: {items_field: names, target_node: count, collect_field: lengths}}
  - {from: count, to: check}
  - {from: check, to: END}
"""


def problems_of(condition: str) -> list[Problem]:
    problems = load_text(DOCUMENT.replace("CONDITION", json.dumps(condition)), "x.yaml").problems
    return [problem for problem in problems if problem.code not in ("unread-input", "unwritten-field")]


@pytest.mark.parametrize(
    ("condition", "result", "hint"),
    [
        ("n > 10", "never", "it is at least 1 and at most 5"),
        ("n >= 1", "always", ""),
        ("m < 1", "never", ""),
        ("n == 1.5", "never", ""),
        ("n != 7", "always", ""),
        ("n in [6, 7]", "never", ""),
        ("n not in [6, 7]", "always", ""),
        ("share > 1", "never", "at least 0 and at most 1"),
        ("share <= 1", "always", ""),
        ("lower(kind) == 'Billing'", "never", "values: billing, technical"),
        ("lower(topic) == 'Yes'", "never", "no letters of the other case"),
        ("upper(topic) in ['Yes', 'No']", "never", ""),
        ("contains(lower(topic), 'ABC')", "never", ""),
        ("startswith(kind, 'x')", "never", "values: Billing, technical"),
        ("contains(kind, 'i')", "always", ""),
        ("'zzz' in kind", "never", ""),
        ("kind < 'A'", "never", ""),
        ("len(kind) == 3", "never", "at least 7 and at most 9"),
        ("len(names) > 5", "never", ""),
        ("len(topic) < 0", "never", "at least 0"),
        ("topic == null", "never", "it is never null"),
        ("null != m", "always", "it is never null"),
        ("thing.a > 3", "never", "at most 3"),
        ("thing['a'] < 10", "always", ""),
        ("kind == other or m == 9", "never", ""),
    ],
)
def test_a_comparison_with_one_result_is_a_warning(condition: str, result: str, hint: str) -> None:
    (problem,) = problems_of(condition)
    assert (problem.code, problem.severity) == ("constant-condition", "warning")
    assert f"is {result} true" in problem.message
    assert hint in (problem.suggestion or "")


@pytest.mark.parametrize(
    "condition",
    [
        *("n > 4", "n >= 2", "n == null", "n in [5, 6]", "n + 1 > 5", "-n < 0", "m % 2 == 0", "m == n", "n < m"),
        *("share < n", "sum > 10", "sum == null", "not (n > 3)", "free == null", "free > 10", "free.x == 'y'"),
        *("kind == null", "kind != 'Billing'", "lower(kind) == 'billing'", "contains(kind, 'ill')", "kind == other"),
        *("kind in ['Billing', 'technical']", "kind in topic", "topic in kind", "topic == 'x'"),
        *("lower(topic) in ['yes', 'No']", "upper(topic) == 'A1'", "lower(topic) == '1'", "lower(topic) == 'ß'"),
        *("len(names) > 2", "len(all) > 5", "len(lengths) > 5", "names == ['a']", "'a' in names", "names == null"),
        *("thing == null", "thing.a == null", "len(lower(topic)) > 2", "false", "m < 99999999999999999999 * n"),
    ],
)
def test_a_comparison_that_depends_on_the_run_is_no_problem(condition: str) -> None:
    assert problems_of(condition) == []


HIDDEN = """
flow: {name: hidden}
state:
  fields:
    m: {type: int, max: 5, default: 2}
    items: {type: 'list[int]', required: true}
    flags: list[bool]
nodes:
  - {id: first, assert: m < 3}
  - {id: look, set: {flags: {expr: m > 9}}}
edges:
  - {from: START, to: first}
  - {from: first, parallel: {items_field: items, target_node: look, collect_field: flags, item: m}}
  - {from: look, to: END}
"""


def test_the_item_of_a_map_isnt_the_field_that_it_hides() -> None:
    assert load_text(HIDDEN, "x.yaml").problems == ()
    shown = load_text(HIDDEN.replace("item: m", "item: n"), "x.yaml").problems
    assert [problem.code for problem in shown] == ["constant-condition"]
