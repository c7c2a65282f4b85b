from __future__ import annotations

import re
from typing import Any

import pytest

from flowyard.errors.steps import EvaluationError
from flowyard.language.values.foreign_placeholders import Known, foreign_placeholders
from flowyard.language.values.templates import check_template, is_placeholder, parse_template, template_type
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
        ("{zzz}", 1, "unknown-field", "for braces as text, {{zzz}"),
        ("{inputs.topic}", 1, "unknown-field", "write {topic}"),
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


KNOWN = Known({**TYPES, "data": INT}, {"write": ["topic"], "rate": ["n", "scores"], "lost": ["undeclared"]})
_PLACEHOLDER = re.compile(r"write (\{.*?\})(?:;|$)")
_AS_TEXT = re.compile(r"[Ff]or braces as text, (\{\{.*)$")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{{ inputs.topic }}", "write {topic}; for braces as text, {{topic}"),
        ("{{ input.items[0] }}", "write {items[0]};"),
        ("{{ state.profile.name }}", "write {profile.name};"),
        ("{{ steps.write.output }}", "write {topic};"),
        ("{{ rate.n }}", "write {n};"),
        ("{{ steps.rate.output }}", "no field 'rate'; fields: topic"),
        ("{{ $('Set it').item.json.topic }}", "write {topic};"),
        ("{{ $node['Set it'].json['topic'] }}", "write {topic};"),
        ("{{#1711.topic#}}", "write {topic};"),
        ("{{#sys.query#}}", "no field 'query'; fields: topic"),
        ("{{#context#}}", "no field 'context';"),
        ("{{- topic -}}", "write {topic};"),
        ("{{ inputs.topic | upper }}", "write {topic}; a placeholder has no filters"),
        ("{{ topic or 'tea' }}", "write {topic}; a placeholder computes nothing"),
        ("{{ n + 1 }}", "write {n}; a placeholder computes nothing"),
        ("{{ topik }}", "did you mean 'topic'? For braces as text, {{topik"),
        ("{{topik}}", "did you mean 'topic'?"),
        ("{{ state.topik }}", "did you mean 'topic'?"),
        ("{{ customer }}", "no field 'customer'; fields: topic"),
        ("{{ now() }}", "no field 'now'; fields: topic"),
        ("{inputs.topic|upper}", "write {topic}; a placeholder has no filters"),
        ("{$topic}", "write {topic}"),
        ("{{#each items}}", "a template has no statements"),
        ("{# topic #}", "a template has no comments"),
        ("{items[topic]}", "write {items}; an index is a number, or a key in quotes"),
        ("{{ items[n] }}", "write {items}; an index is a number, or a key in quotes"),
        ("{{ scores[topic] }}", "write {scores}; an index is a number, or a key in quotes"),
        ("{scores[topic]}", "write {scores.topic}"),
        ("{profile[name]}", "write {profile.name}"),
        ("{profile[nme]}", "write {profile}; an index is a number, or a key in quotes"),
        ("{{ profile['age'] }}", "write {profile}; the object has no field 'age'"),
        ("{inputs[topic]}", "write {topic}"),
        ("{items.0}", "write {items[0]}"),
        ("{items.0.b}", "write {items[0]}; a value of type str has no '.b'"),
        ("{items[0:1]}", "write {items}; a placeholder has no slices"),
        ("{free.a[0:1].b}", "write {free.a}; a placeholder has no slices"),
        ("{free[topic][0]}", "write {free.topic[0]}"),
        ("{{ items.first }}", "write {items}; a value of type list[str] has no '.first'"),
        ("{{ items | length }}", "write {items}; a placeholder has no filters"),
        ("{{ topic.upper() }}", "write {topic}; a placeholder has no calls"),
        ("{{ topic.name }}", "write {topic}; a value of type str has no '.name'"),
        ("{{ data.topic }}", "write {topic};"),
        ("{n:.2f}", "write {n}; a placeholder has no formats"),
        ("{topic!r}", "write {topic}; a placeholder has no formats"),
        (f"{{{{ free{'.a' * 40} }}}}", f"write {{free{'.a' * 32}}}; the placeholder takes 33 steps"),
        ("{{ lost.output }}", "no field 'lost'; fields: topic"),
    ],
)
def test_a_placeholder_of_another_language_is_shown_as_this_one_writes_it(text: str, hint: str) -> None:
    (finding,) = foreign_placeholders(f"On {text}", KNOWN)
    assert (finding.code, finding.offset) == ("literal-braces", 3)
    suggested = finding.suggestion or ""
    assert hint in suggested
    for spelling in _PLACEHOLDER.findall(suggested):
        assert is_placeholder(spelling)
        assert list(check_template(parse_template(spelling), KNOWN.types)) == []
    for spelling in _AS_TEXT.findall(suggested):
        assert parse_template(spelling).parts == (spelling[1:],)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{{customer}}",
            "{{topic}",
            '{{"a": 1}}',
            "{{ your name }}",
            "\\frac{{a}}{{b}}",
            "x^{{2}}",
            "{{ 2 }}",
            "{#topic}",
        ),
        *("{topic - one word}", "{customer|upper}", "{{topic, n}}", "{{}}", "{inputs.topic}", "{{{{topic}}}}"),
    ],
)
def test_braces_that_are_meant_as_text_are_left_alone(text: str) -> None:
    assert list(foreign_placeholders(text, KNOWN)) == []
