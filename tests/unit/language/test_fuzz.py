"""No input whatsoever gives a traceback. `FLOWYARD_FUZZ=20000` tries that many examples per test instead of a few."""

from __future__ import annotations

import contextlib
import copy
import os
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowyard.errors.steps import EvaluationError
from flowyard.language.inputs import input_from_text
from flowyard.language.load import load_bytes, load_text
from flowyard.language.values.conform import conform
from flowyard.language.values.expression_types import check_expression
from flowyard.language.values.expression_values import ExpressionContext
from flowyard.language.values.expressions import ExpressionSyntaxError, parse_expression
from flowyard.language.values.functions import FUNCTIONS
from flowyard.language.values.json_schema import json_schema
from flowyard.language.values.templates import check_template, parse_template
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
    describe,
    parse_type,
)
from unit.language.answers import check

DATA = Path(__file__).parents[2] / "data"
GOOD = [path.read_text(encoding="utf-8") for path in sorted((DATA / "good").glob("*.yaml"))]
TREES = [yaml.safe_load(text) for text in GOOD]

often = settings(
    max_examples=int(os.environ.get("FLOWYARD_FUZZ", "100")),
    deadline=None,
    database=None,
    # The short run is the same every time; the long one looks for what is new.
    derandomize="FLOWYARD_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

FIELDS: dict[str, Type] = {
    "score": FLOAT,
    "n": INT,
    "s": STR,
    "ok": BOOL,
    "xs": ListOf(INT),
    "d": DictOf(STR),
    "o": ObjectOf({"a": ObjectField(INT)}),
    "u": ANY,
    "m": Nullable(STR),
    "c": Choice(("a", "B")),
    "cs": ListOf(Choice(("a", "B"))),
    "day": DATE,
    "at": Nullable(DATETIME),
}
VALUES: dict[str, Any] = {
    "score": 0.5, "n": 3, "s": "abc", "ok": True, "xs": [1, 2], "d": {"a": "b"}, "o": {"a": 1}, "u": 10**4000,
    "m": None, "c": "a", "cs": ["B"], "day": "2026-01-31", "at": "2026-01-31T10:00:00+00:00",
}  # fmt: skip

WORDS = [
    "flow", "state", "nodes", "edges", "config", "tests", "fields", "type", "required", "default", "schema",
    "reduce", "id", "prompt", "outputs", "inputs", "system", "output_schema", "examples", "llm", "timeout", "retry",
    "on_error", "goto", "from", "to", "routes", "condition", "logic", "if", "else", "loop", "until",
    "condition_field", "max_iterations", "exit_to", "parallel", "items_field", "target_node", "collect_field",
    "item", "provider", "model", "temperature", "fallbacks", "execution", "storage", "observability", "mlflow",
    "webhook", "on_finish", "url", "status", "include", "triggers", "path", "kind", "github",
    "secret", "${env:A_TOKEN}", "auth", "none", "when", "wait",
    "reply", "text", "failed", "token", "telegram",
    "limits", "body", "rate", "10/s", "payload", "headers", "query", "enabled", "expect", "replies", "calls",
    "error", "START", "END", "str", "int", "float", "bool",
    "list", "dict", "object", "any", "null", "true", "false", "yes", "on", "list[int]", "dict[str,int]", "write",
    "topic", "poem", "fail", "continue", "enum", "min", "max", "pattern", "min_items", "max_items", "result", "date",
    "format", "workflow",
    "datetime", "'a' | 'b'", "5m", "(a+", "2026-01-31",
]  # fmt: skip
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(WORDS),
    st.sampled_from(["{topic}", "{state.x.y[0]}", "{", "topic == 'x'", "score >", "list[", "-1", "1e400", "\u2028"]),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS) | st.text(max_size=6) | st.integers() | st.booleans(), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@often
@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    check(load_text(text, "x.yaml"), text)


@often
@given(st.text(st.characters()) | st.text(st.sampled_from("\ud800\udfff\x00\ufeff\x85\u2028\r\n\t ab:-'\"|>")))
def test_text_with_surrogates_and_control_characters_is_answered(text: str) -> None:
    check(load_text(text, "x.yaml"), text)


@often
@given(st.binary())
def test_any_bytes_are_answered(data: bytes) -> None:
    check(load_bytes(data, "x.yaml"), data.decode("latin-1"))


@often
@given(st.sampled_from(GOOD), st.data())
def test_a_document_with_some_characters_changed_is_answered(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = at + data.draw(st.integers(0, 3))
        piece = data.draw(st.text(max_size=3) | st.sampled_from(MARKS))
        text = text[:at] + piece + text[end:]
    check(load_text(text, "x.yaml"), text)


def paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(found for key, child in children for found in paths(child, (*path, key)))][0 if path else 1 :]


def mutate(tree: Any, path: tuple[Any, ...], action: str, key: str, value: Any) -> None:
    parent = tree
    for step in path[:-1]:
        parent = parent[step]
    child = parent[path[-1]]
    if action == "delete":
        del parent[path[-1]]
    elif action == "insert" and isinstance(child, dict):
        child[key] = value
    elif action == "insert" and isinstance(child, list):
        child.append(value)
    elif action == "rename" and isinstance(parent, dict):
        parent[key] = parent.pop(path[-1])
    else:
        parent[path[-1]] = value


@often
@given(st.sampled_from(TREES), st.data())
def test_a_document_with_some_nodes_changed_is_answered(tree: Any, data: st.DataObject) -> None:
    tree = copy.deepcopy(tree)
    for _ in range(data.draw(st.integers(1, 4))):
        places = paths(tree)
        if places:
            action = data.draw(st.sampled_from(["delete", "replace", "insert", "rename"]))
            key = data.draw(st.sampled_from(WORDS) | st.text(max_size=5))
            mutate(tree, data.draw(st.sampled_from(places)), action, key, data.draw(values))
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    check(load_text(text, "x.yaml"), text)


MARKS = [
    ": ", ":", "\n", "\n  ", "\n- ", "- ", "{", "}", "[", "]", ",", "|\n  ", ">-\n  ", "'", '"', "&a ", "*a", "<<: *a",
    "!!str ", "!x ", "? ",
    "---\n", "...\n", "%YAML 1.1\n", "#", "\t", "~", "0o7", "1e5", ".inf", "\\", "\r\n", "é", "\ufeff",
]  # fmt: skip
EXPRESSION_TOKENS = [
    *FIELDS, "state", "and", "or", "not", "in", "is", "==", "!=", "<", ">=", "+", "-", "*", "/", "//", "%", "**",
    "(", ")", "[", "]", "{", "}", ".", ",", ":", "'a'", '"a"', "1", "2.5", "1e999", "0", "True", "true", "null", "None",
    "'B'", "'2026-01-31'", "state.n", "len", "lower", "contains",
    *(f"{name}(" for name in FUNCTIONS), "item", "item.a", "'3d'", "'%'", "now()",
    "iterations", "'w'", "_loop_iteration_w", "lambda", "if", "else", "for", ":=", "await",
    "f'{n!r:>{n}}'", "b'a'", "1j", "...", "\n", "\\", "#", " ", "@", "~", "é", '"', "'", "=", "9" * 400, "\ud800",
]  # fmt: skip
TYPE_TOKENS = [
    "str",
    "int",
    "list",
    "dict",
    "object",
    "any",
    "null",
    "None",
    "[",
    "]",
    ",",
    " ",
    "|",
    "?",
    "strr",
    "date",
    "'a'",
    "'b c'",
    '"d\'e"',
    "'",
]
soup = st.lists(st.sampled_from([*WORDS, *MARKS]), max_size=40)


@often
@given(soup)
def test_a_soup_of_yaml_tokens_is_answered(tokens: list[str]) -> None:
    text = "".join(tokens)
    check(load_text(text, "x.yaml"), text)


expressions = st.text(max_size=30) | st.builds(
    lambda tokens, glue: glue.join(tokens),
    st.lists(st.sampled_from(EXPRESSION_TOKENS), max_size=9),
    st.sampled_from(["", " "]),
)


@often
@given(expressions)
@example("score@score")
@example("iterations(score)")
@example("score << ~score")
def test_an_expression_is_refused_checked_or_evaluated(text: str) -> None:
    try:
        expression = parse_expression(text)
    except ExpressionSyntaxError as refused:
        offset = refused.finding.offset
        event("refused")
    else:
        findings = check_expression(expression, FIELDS, {"w"})
        offset = max((finding.offset for finding in findings), default=0)
        event("wrong" if findings else "right")
        if expression.names <= VALUES.keys():
            with contextlib.suppress(EvaluationError):
                assert isinstance(expression.holds(VALUES.__getitem__, ExpressionContext(lambda _: 1)), bool)
    assert 0 <= offset <= len(text)


@often
@given(st.text() | st.text(st.sampled_from("{}[]'\". aé0s-"), max_size=40))
def test_any_text_is_a_template(text: str) -> None:
    template = parse_template(text)
    for placeholder in template.placeholders:
        assert text[placeholder.offset] == "{"
    assert isinstance(template.render(lambda _: AnyValue()), str)
    for finding in check_template(template, FIELDS):
        assert 0 <= finding.offset < len(text)


class AnyValue(dict[str, Any]):
    """Has every key and every index."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: object) -> str:
        return ""


def no_names(name: str) -> str:
    raise AssertionError(f"'{name}' was looked up")


@often
@given(st.text(st.characters(exclude_characters="{}")))
def test_a_template_without_braces_renders_as_it_stands(text: str) -> None:
    assert parse_template(text).render(no_names) == text


@often
@given(st.text())
def test_doubled_braces_render_any_text(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert parse_template(doubled).render(no_names) == text


@often
@given(st.text(), st.text())
def test_a_value_is_filled_in_once(before: str, value: str) -> None:
    literal = before.replace("{", "").replace("}", "")
    assert parse_template(literal + "{x}").render({"x": value}.__getitem__) == literal + value


type_texts = st.text(max_size=20) | st.builds("".join, st.lists(st.sampled_from(TYPE_TOKENS), max_size=12))


@often
@given(type_texts, values)
def test_a_type_is_refused_or_means_the_same_when_printed(text: str, value: Any) -> None:
    try:
        kind = parse_type(text)
    except TypeSyntaxError as refused:
        offset, kind = refused.offset, ANY
    else:
        offset = 0
    assert 0 <= offset <= len(text)
    assert parse_type(describe(kind)) == kind
    Draft202012Validator.check_schema(json_schema(kind))
    conform(kind, value, "x", [])


texts = st.sampled_from(["a", "B", "b", "", "2026-01-31", "2026-02-30", "2026-01-31T10:00:00Z", "aB7"])
numbers = st.integers(-3, 3) | st.sampled_from([-0.5, 0.5, 2.5])
limited = st.one_of(
    st.sampled_from([STR, INT, FLOAT, BOOL, DATE, Choice(("a", "B"))]),
    st.builds(Limited, st.sampled_from([INT, FLOAT]), numbers, numbers),
    st.builds(Limited, st.just(STR), pattern=st.sampled_from(["a|B", "[a-z]*", "a.*", r"\d{4}-.+"])),
)
limited_lists = st.builds(
    lambda inner, least, most: Limited(ListOf(inner), least, most), limited, st.integers(0, 2), st.none() | numbers
)
plain_values = st.none() | st.booleans() | texts | numbers


@often
@given(limited | limited_lists, plain_values | st.lists(plain_values, max_size=3))
def test_what_has_a_type_fits_its_schema_and_nothing_else_does(kind: Type, value: Any) -> None:
    problems: list[str] = []
    conform(kind, value, "x", problems)
    schema = Draft202012Validator(json_schema(kind), format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert schema.is_valid(value) is not bool(problems)


@often
@given(st.sampled_from(list(FIELDS.values())), st.text() | st.sampled_from(["[" * 90_000, "9" * 9_000, "1e999", "NaN"]))
def test_any_text_of_an_input_can_be_checked(kind: Type, text: str) -> None:
    conform(kind, input_from_text(kind, text), "x", [])
