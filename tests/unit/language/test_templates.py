from __future__ import annotations

from typing import Any

import pytest

from flowyard.errors.steps import EvaluationError
from flowyard.language.values.templates import check_template, parse_template, template_type
from flowyard.language.values.types import ANY, INT, STR, DictOf, ListOf, Nullable, ObjectField, ObjectOf, Type

VALUES: dict[str, Any] = {
    "topic": "bees",
    "n": 3,
    "none": None,
    "ok": True,
    "items": ["a", {"b": "c"}],
    "profile": {"name": "Ann", "first name": "A", "größe": 1},
    "braces": "{topic} {{x}}",
}
TYPES: dict[str, Type] = {
    "topic": STR,
    "n": INT,
    "items": ListOf(STR),
    "scores": DictOf(INT),
    "free": ANY,
    "profile": Nullable(ObjectOf({"name": ObjectField(STR)})),
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("On {topic}.", "On bees."),
        ("{state.topic}{ n }", "bees3"),
        ("{profile.name} {profile['first name']} {profile.größe}", "Ann A 1"),
        ("{items[0]} {items[1].b} {items[-1]['b']}", "a c c"),
        ("{none}|{ok}|{items}", '|true|["a", {"b": "c"}]'),
        ("{{topic}} {{{topic}}}", "{topic} {bees}"),
        ('{"a": 1, "b": {"c": []}}', '{"a": 1, "b": {"c": []}}'),
        ('{"a": {topic}}', '{"a": bees}'),
        ("{{'a': {{'b': 1}}}}", "{'a': {'b': 1}}"),
        ("a } b { c", "a } b { c"),
        ("{}{ }{1}{a-b}", "{}{ }{1}{a-b}"),
        ("{topic", "{topic"),
        ("{braces}", "{topic} {{x}}"),
        ("", ""),
    ],
)
def test_a_template_is_filled_once_and_other_braces_stay(text: str, filled: str) -> None:
    assert parse_template(text).render(VALUES.__getitem__) == filled


@pytest.mark.parametrize(("text", "value"), [("{n}", 3), ("{items[1]}", {"b": "c"}), ("{none}", None), (" {n}", " 3")])
def test_a_placeholder_alone_keeps_its_values_type(text: str, value: Any) -> None:
    assert parse_template(text).value(VALUES.__getitem__) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{items[2]}", r"items\[2\] is out of range: items has 2 items"),
        ("{profile.age}", "profile has no 'age'"),
        ("{topic.x}", "topic is str"),
        ("{none.x}", "none is null"),
    ],
)
def test_a_step_that_leads_nowhere_says_where(text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        parse_template(text).render(VALUES.__getitem__)


@pytest.mark.parametrize(
    ("text", "offset", "code", "hint"),
    [
        ("On {topik}", 4, "unknown-field", "did you mean 'topic'?"),
        ("{zzz}", 1, "unknown-field", "{{…}}"),
        ("{topic} {profile.nme}", 9, "unknown-field", "did you mean 'name'?"),
        ("{items.x}", 1, "wrong-step", "[0]"),
        ("{n[0]}", 1, "wrong-step", ""),
    ],
)
def test_a_template_is_checked_against_the_types(text: str, offset: int, code: str, hint: str) -> None:
    (finding,) = check_template(parse_template(text), TYPES)
    assert (finding.offset, finding.code) == (offset, code)
    assert hint in (finding.suggestion or "")


@pytest.mark.parametrize("text", ["{topic}{items[0]}{scores.a}{free.a[0].b}{profile.name}{topic[0]}", '{"a": 1}'])
def test_what_the_types_allow_is_right(text: str) -> None:
    assert list(check_template(parse_template(text), TYPES)) == []


@pytest.mark.parametrize(
    ("text", "kind"), [("{n}", INT), ("{scores.a}", INT), ("{items}", ListOf(STR)), ("a {n}", STR), ("{no}", STR)]
)
def test_the_type_of_a_template_is_that_of_its_value(text: str, kind: Type) -> None:
    assert template_type(parse_template(text), TYPES) == kind


def test_the_names_of_a_template_are_the_fields_it_reads() -> None:
    assert parse_template("{a} {state.b.c} {{d}} {e[0]}").names == {"a", "b", "e"}
