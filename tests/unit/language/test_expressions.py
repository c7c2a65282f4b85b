from __future__ import annotations

from typing import Any

import pytest

from flowyard.errors.steps import EvaluationError
from flowyard.language.values.expression_types import check_expression
from flowyard.language.values.expressions import ExpressionSyntaxError, parse_expression
from flowyard.language.values.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    STR,
    DictOf,
    ListOf,
    Nullable,
    ObjectField,
    ObjectOf,
    Type,
)

TYPES: dict[str, Type] = {
    "score": FLOAT,
    "n": INT,
    "text": STR,
    "ok": BOOL,
    "numbers": ListOf(INT),
    "tags": ListOf(STR),
    "counts": DictOf(INT),
    "profile": ObjectOf({"name": ObjectField(STR), "ages": ObjectField(ListOf(INT))}),
    "free": ANY,
    "maybe": Nullable(STR),
}
VALUES: dict[str, Any] = {
    "score": 0.9,
    "n": 3,
    "huge": 10**3_000,
    "text": "Hello",
    "ok": True,
    "numbers": [1, 2, 3],
    "tags": ["a", "b"],
    "counts": {"a": 1},
    "profile": {"name": "Ann", "ages": [7, 8]},
    "free": {"x": [1, "y"]},
    "maybe": None,
}


def holds(text: str) -> bool:
    return parse_expression(text).holds(VALUES.__getitem__, {"review": 2}.__getitem__)


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("score > 0.8", True),
        ("state.score >= 0.9 and n != 3", False),
        ("{state.score} > 0.5 or {n} == 4", True),
        ("not ok", False),
        ("1 < n < 4", True),
        ("1 < n < 3", False),
        ("text in ['Hello', 'Bye']", True),
        ("'ell' in text and 'x' not in text", True),
        ("'a' in counts and contains(tags, 'b')", True),
        ("lower(text) == 'hello' and upper(text) == 'HELLO'", True),
        ("startswith(text, 'He') and endswith(text, 'lo')", True),
        ("len(numbers) == 3 and len(text) == 5 and len(counts) == 1", True),
        ("numbers[0] + numbers[-1] * 2 == 7", True),
        ("n // 2 == 1 and n % 2 == 1 and n / 2 == 1.5 and -n == 0 - 3", True),
        ("text + '!' == 'Hello!'", True),
        ("numbers + [4] == [1, 2, 3, 4]", True),
        ("profile.ages[1] == 8 and profile['name'] == 'Ann'", True),
        ("free.x[1] == 'y'", True),
        ("numbers[n - 1] == 3 and counts[tags[0]] == 1", True),
        ("maybe == null and maybe is None and maybe == none", True),
        ("ok == true and ok is not False", True),
        ("iterations('review') >= 2 and _loop_iteration_review == 2", True),
        ("state._loop_iteration_review > 2", False),
        ("score > 0.8\n  and n == 3\n", True),
        ("n > 0 or 1 / 0 > 1", True),
    ],
)
def test_a_condition_is_checked_and_evaluated(text: str, *, truth: bool) -> None:
    assert check_expression(parse_expression(text), TYPES, {"review"}) == []
    assert holds(text) is truth


@pytest.mark.parametrize(
    "text", ["n == true", "1 == true", "0 == false", "[1] == [true]", "true in numbers", "free == 1"]
)
def test_a_bool_is_no_number(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n / 0 > 1", "division by zero"),
        ("n % 0 > 1", "zero"),
        ("free > 1", "free is object, not a number"),
        ("ok + 1 > 1", "ok is bool, not a number"),
        ("free and ok", "free is object, not true or false"),
        ("n", "is int, not true or false"),
        ("maybe > 'a'", "maybe is null"),
        ("text < 3", "text is str, not a number"),
        ("numbers[9] == 1", "out of range"),
        ("free.y == 1", "has no 'y'"),
        ("numbers[ok] == 1", "an index is an int or a str"),
        ("1 in n", "it has no elements"),
        ("len(n) > 1", "it has no length"),
        ("lower(n) == 'a'", "not text"),
        ("huge * huge > 1", "too large"),
    ],
)
def test_an_error_while_evaluating_says_what_was_wrong(text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        holds(text)


@pytest.mark.parametrize(
    ("text", "code", "offset", "hint"),
    [
        ("scor > 1", "unknown-field", 0, "did you mean 'score'?"),
        ("n > 1 and category == 'x'", "unknown-field", 10, ""),
        ("state > 1", "unknown-field", 0, "state.FIELD"),
        ("ünknown > 1 and nn > 1", "unknown-field", 0, ""),
        ("profile.nam == 'a'", "unknown-field", 0, "did you mean 'name'?"),
        ("inputs.n > 1", "unknown-field", 0, "write n"),
        ("steps['review'].output.n > 1", "unknown-field", 0, "write n"),
        ("{{ n }} > 1", "expression-not-allowed", 0, "write n, without braces"),
        ("text == positive", "unknown-field", 8, "text needs quotes: 'positive'"),
        ("n == '3'", "expression-type", 0, "without quotes"),
        ("text == 3", "expression-type", 0, "quote it: '3'"),
        ("text > 3", "expression-type", 0, "quote it: '3'"),
        ("tags", "expression-type", 0, "len(tags) > 0"),
        ("ok and text", "expression-type", 7, "text != ''"),
        ("1 in tags", "expression-type", 0, ""),
        ("text + 1 == 'a'", "expression-type", 7, ""),
        ("text - 1 > 1", "expression-type", 0, ""),
        ("len(n) > 1", "expression-type", 4, ""),
        ("len(text, 1) > 1", "expression-type", 0, ""),
        ("numbers['a'] == 1", "wrong-step", 0, ""),
        ("numbers[text] == 1", "expression-type", 0, ""),
        ("iterations('nobody') > 1", "unknown-node", 0, "review"),
        ("iterations(text) > 1", "expression-type", 0, "iterations('node')"),
        ("eval('1') == 1", "unknown-function", 0, "functions:"),
        ("text.lower() == 'a'", "unknown-function", 0, "write lower(text)"),
        ("(lambda: n)() > 1", "unknown-function", 0, ""),
        ("[x for x in tags] == tags", "expression-not-allowed", 0, ""),
        ("(n if ok else 1) > 1", "expression-not-allowed", 1, ""),
        ("(x := n) > 1", "expression-not-allowed", 1, ""),
        ("{'a': 1} == counts", "expression-not-allowed", 0, ""),
        ("f'{n}' == 'a'", "expression-not-allowed", 0, ""),
        ("b'a' == text", "expression-not-allowed", 0, ""),
        ("1j == n", "expression-not-allowed", 0, ""),
        ("n ** 2 > 1", "expression-not-allowed", 0, "+ - *"),
        ("tags[0:1] == tags", "expression-not-allowed", 0, ""),
        ("ok and {state.scor} > 1", "unknown-field", 8, ""),
        ("text == 'é' and nope", "unknown-field", 16, ""),
    ],
)
def test_what_cannot_work_is_found_before_it_runs(text: str, code: str, offset: int, hint: str) -> None:
    first, *_ = check_expression(parse_expression(text), TYPES, {"review"})
    assert (first.code, first.offset) == (code, offset)
    assert hint in (first.suggestion or "")


@pytest.mark.parametrize(
    ("text", "offset", "hint"),
    [
        ("n = 3", 2, "'=='"),
        ("n === 3", 2, "'=='"),
        ("n > 3 && ok", 6, "'and'"),
        ("n > 3 || ok", 6, "'or'"),
        ("!ok", 0, "'not'"),
        ("n => 3", 2, "'>='"),
        ("n <> 3", 2, "'!='"),
        ("$json.n > 3", 0, "the field alone"),
        ("ok AND ok", 3, "'and'"),
        ("text == '&&' && ok", 13, "'and'"),
        ("n >", 2, "complete it"),
        ("  ", 0, "score > 0.8"),
        ("(n > 3", 0, "examples"),
        ("n > 3 # often", 6, "outside"),
        ("ok\n# or: not ok\n", 3, "outside"),
        ("x" * 2_001, 0, ""),
        ("ok" + " or ok" * 300, 0, "several routes"),
        ("(" * 40 + "ok" + ")" * 40 + " and" + " not" * 40 + " ok", 0, "several routes"),
        ("text == '\x00'", 9, ""),
    ],
)
def test_what_is_no_expression_is_refused_at_its_character(text: str, offset: int, hint: str) -> None:
    with pytest.raises(ExpressionSyntaxError) as refused:
        parse_expression(text)
    assert refused.value.finding.offset == offset
    assert hint in (refused.value.finding.suggestion or "")


def test_a_hash_inside_a_text_is_no_comment() -> None:
    assert not holds("text == '#1'")


def test_the_names_of_an_expression_are_the_fields_it_reads() -> None:
    text = "state.a > b.c[d] and len(e) == iterations('f') and true and _loop_iteration_g > 1"
    assert parse_expression(text).names == {"a", "b", "d", "e"}


def test_an_unchecked_call_is_an_evaluation_error() -> None:
    with pytest.raises(EvaluationError, match="can't be evaluated"):
        holds("len() > 1")
