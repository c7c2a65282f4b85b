from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flowyard.errors.steps import EvaluationError
from flowyard.language.values.expression_types import check_expression
from flowyard.language.values.expression_values import ExpressionContext
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
    "people": ListOf(ObjectOf({"name": ObjectField(STR), "age": ObjectField(INT), "pets": ObjectField(ListOf(STR))})),
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
    "people": [
        {"name": "Ann", "age": 30, "pets": ["cat", "dog"]},
        {"name": "Bob", "age": 20, "pets": []},
        {"name": "Ann", "age": 40, "pets": ["dog"]},
    ],
    "longest": list(range(20_000)),
}


NOW = datetime(2026, 3, 1, 12, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))


def holds(text: str) -> bool:
    return parse_expression(text).holds(VALUES.__getitem__, ExpressionContext({"review": 2}.__getitem__, lambda: NOW))


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
        ("('many' if n > 2 else 'few') == 'many'", True),
        ("filter(numbers, item > 1) == [2, 3]", True),
        ("map(people, upper(item.name)) == ['ANN', 'BOB', 'ANN']", True),
        ("map(filter(people, item.age > 20), item.age) == [30, 40]", True),
        ("map(numbers, sum(map(numbers, item))) == [6, 6, 6]", True),
        ("map(people, len(filter(item.pets, item == 'cat'))) == [1, 0, 0]", True),
        ("map(sorted(people, -item.age), item.age) == [40, 30, 20]", True),
        ("sorted(['b', 'a']) == ['a', 'b'] and sorted(numbers, -item) == [3, 2, 1]", True),
        ("unique([1, 2, 1, 1.0, 2]) == [1, 2] and len(unique([1, true])) == 2", True),
        ("map(unique(people, item.name), item.age) == [30, 20]", True),
        ("sum(numbers) == 6 and sum([]) == 0 and sum([0.5, 1]) == 1.5", True),
        ("min(numbers) == 1 and max(numbers) == 3 and min(n, 2, 9) == 2 and max('a', 'b') == 'b'", True),
        ("join(tags, ', ') == 'a, b' and join(numbers, '') == '123'", True),
        ("split('a b  c') == ['a', 'b', 'c'] and split('a,,b', ',') == ['a', '', 'b']", True),
        ("replace(text, 'l', '-') == 'He--o'", True),
        ("round(2.5) == 2 and round(score, 0) == 1.0 and round(1234, -2) == 1200", True),
        ("int('12') == 12 and int(' -3 ') == -3 and int(2.9) == 2 and float('1.5') == 1.5", True),
        ("str(numbers) == '[1, 2, 3]' and str(maybe) == '' and str(n) == '3'", True),
        ("json(counts) == '{\"a\":1}' and parse_json('[1, null]')[0] == 1", True),
        ("default(maybe, 'x') == 'x' and default(free.nobody, 2) == 2 and default(text, 'x') == 'Hello'", True),
        ("now() == '2026-03-01T10:30:00+00:00' and date(now()) == '2026-03-01'", True),
        ("now() < date_add(now(), '1s') and date_diff(now(), '2026-03-01T10:00:00Z') == 1800", True),
        ("date('2026-03-01T23:30:00-05:00') == '2026-03-02'", True),
        ("date_add('2026-02-28', '1d') == '2026-03-01' and date_add('2026-03-01', '-1d') == '2026-02-28'", True),
        ("date_add('2026-01-01T00:00:00Z', '1h30m') == '2026-01-01T01:30:00+00:00'", True),
        ("date_diff('2026-03-01', '2026-02-27') / 86400 == 2", True),
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
        ("sum([huge, 1.5]) > 1", "too large"),
        ("float(huge) > 1", "too large"),
        ("min([]) > 1", "an empty list has no minimum"),
        ("sorted([1, 'a']) == []", "numbers and texts have no order"),
        ("sorted([[1], [2]]) == []", "only numbers or only texts"),
        ("sum(tags) > 1", "a list of numbers"),
        ("filter(numbers, item) == []", "item is int, not true or false"),
        ("map(n, item) == []", "n is int, not a list"),
        ("int('1.5') == 1", "'1.5' is no whole number"),
        ("int('1_0') == 1", "is no whole number"),
        ("float('nan') == 1", "is no number"),
        ("float('1e999') == 1", "is no number"),
        ("round(score, 99) == 1", "from -15 to 15"),
        ("split(text, '') == []", "is empty"),
        ("replace(text, '', 'x') == ''", "is empty"),
        ("parse_json('{') == 1", "is no JSON"),
        ("parse_json('NaN') == 1", "NaN is no JSON"),
        ("default(n + text, 1) == 1", "not a number"),
        ("date('2026-02-30') == ''", "no date or datetime"),
        ("date_add('2026-01-01', '1h') == ''", "only whole days"),
        ("date_add('9999-12-31', '9d') == ''", "no such date"),
        ("date_add('2026-01-01', 'soon') == ''", "isn't a time"),
        ("date_diff('2026-01-01', '2026-01-01T00:00:00Z') > 1", "have no difference"),
        ("len(map(longest, len(map(longest, item)))) > 1", "are evaluated for elements"),
        ("len(join(map(longest, join(map(tags, text), text)), text)) > 1", "are evaluated for elements"),
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
        ("(n if n else 1) > 1", "expression-type", 6, "n != 0"),
        ("filter(n, true) == tags", "expression-type", 7, ""),
        ("filter(tags, item) == tags", "expression-type", 13, "item != ''"),
        ("len(map(people, item.nme)) > 1", "unknown-field", 16, "did you mean 'name'?"),
        ("sorted(people) == people and sorted(people, item) == people", "expression-type", 44, ""),
        ("item == 1", "unknown-field", 0, ""),
        ("map(numbers, item) == numbers and item > 1", "unknown-field", 34, ""),
        ("sum(tags) > 1", "expression-type", 4, ""),
        ("max(n, text) > 1", "expression-type", 4, ""),
        ("max(ok) == true", "expression-type", 4, ""),
        ("join(text, ', ') == ''", "expression-type", 5, ""),
        ("replace(text, 1, '') == ''", "expression-type", 14, ""),
        ("replace(text, 'a') == ''", "expression-type", 0, ""),
        ("round(text) == 1", "expression-type", 6, ""),
        ("int(ok) == 1", "expression-type", 4, ""),
        ("date_diff(n, '2026-01-01') > 1", "expression-type", 10, ""),
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


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("map(people, item.age + n) == numbers", {"people", "n", "numbers"}),
        ("filter(item, item > state.item) == numbers", {"item", "numbers"}),
        ("map(people, len(filter(item.pets, item == text))) == numbers", {"people", "text", "numbers"}),
        ("text if ok else default(maybe, n)", {"text", "ok", "maybe", "n"}),
    ],
)
def test_an_element_is_no_field(text: str, names: set[str]) -> None:
    assert parse_expression(text).names == names
