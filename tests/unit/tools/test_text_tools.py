"""Regular expressions and templates of strangers: what they give, and that none of them takes long or grows large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from support.tool_calls import called

LONG = "a" * 1_000_000


def found(pattern: str, text: str, **more: Any) -> Any:
    result = called("text.regex", {"pattern": pattern, "text": text, **more})
    assert result.error is None
    return result.value


def test_matches_have_their_place_and_their_groups() -> None:
    assert found(r"(?P<key>\w+)=(\d+)?", "café a=1, b=") == {
        "matches": [
            {"text": "a=1", "start": 5, "end": 8, "groups": ["a", "1"], "named": {"key": "a"}},
            {"text": "b=", "start": 10, "end": 12, "groups": ["b", None], "named": {"key": "b"}},
        ],
        "is_cut": False,
    }


def test_no_more_matches_are_returned_than_wanted() -> None:
    assert found("a", "aaa", limit=2) == {
        "matches": [{"text": "a", "start": 0, "end": 1}, {"text": "a", "start": 1, "end": 2}],
        "is_cut": True,
    }
    assert found("a", "aaa", limit=3)["is_cut"] is False
    assert len(found("a", LONG)["matches"]) == 100


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "replaced"),
    [
        (r"(\w+)@(\w+)", r"\2 at \g<1>", "ada@home", "home at ada"),
        (r"(?P<day>\d+)\.(?P<month>\d+)", r"\g<month>/\g<day>", "24.12.", "12/24."),
        ("a", r"\\", "ab", "\\b"),
        ("(x)?a", r"[\1]", "a", "[]"),
        ("(?i)A", "", "bab", "bb"),
        ("", "-", "é", "-é-"),
    ],
)
def test_matches_are_replaced(pattern: str, replacement: str, text: str, replaced: str) -> None:
    assert found(pattern or "x*", text, replacement=replacement)["text"] == replaced


def test_no_more_matches_are_replaced_than_wanted() -> None:
    assert found("a", "aaa", replacement="b", limit=2) == {"text": "bba", "count": 2}


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b$", "(a|aa)+$", "(.*a){12}$", "(?:a?){30}a{30}$", r"(\w+\s?)+$"])
def test_what_makes_others_backtrack_for_ever_is_searched_once(pattern: str) -> None:
    assert found(pattern, "a" * 50_000 + "!")["matches"] == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"pattern": "("}, "no regular expression of RE2: missing ): ("),
        ({"pattern": "(?=a)"}, "it has no look-around"),
        ({"pattern": r"(a)\1"}, "no back-references"),
        ({"pattern": "a{1001}"}, "repetition"),
        ({"pattern": "((a{100}){100}){100}"}, "repetition"),
        ({"pattern": r"(\pL{100}){5}"}, "pattern too large"),
        ({"pattern": "a{900}"}, "too large for so long a text"),
        ({"pattern": "()" * 100}, "100 groups"),
        ({"pattern": "\ud800"}, "surrogate"),
        ({"text": "\ud800"}, "half a surrogate pair"),
        ({"pattern": "(" * 10 + "a+" + ")" * 10}, "the matches have more than"),
        ({"replacement": r"\2"}, r"has '\2', and the pattern has no such group"),
        ({"replacement": r"\g<x>"}, "no such group"),
        ({"replacement": r"\n"}, "stands for nothing"),
        ({"replacement": "a\\"}, "stands for nothing"),
        ({"replacement": "b" * 10_000}, "more than 1,000,000"),
        ({"pattern": "(a+)", "replacement": r"\1" * 5_000}, "more than 1,000,000"),
    ],
)
def test_what_would_grow_or_is_no_pattern_is_refused(arguments: Mapping[str, Any], error: str) -> None:
    result = called("text.regex", {"pattern": "a", "text": LONG, **arguments})
    assert result.outcome == "failed"
    assert error in str(result.error)


def test_a_search_ends_whose_matches_each_read_the_rest_of_the_text() -> None:
    """Each of a million searches is linear, all together are not."""
    result = called("text.regex", {"pattern": "a(?:.*b)?", "text": LONG, "replacement": ""})
    assert result.error == "the search takes too long: take a shorter text, or a simpler pattern"


def test_a_template_gets_its_values() -> None:
    values = {"name": "Ada", "items": [{"price": 1.5}], "none": None, "braces": "{name}"}
    template = "Hi {name}: {items[0].price}, {items}{none} {{x}} {braces} { }"
    rendered = called("template.render", {"template": template, "values": values})
    assert rendered.value == 'Hi Ada: 1.5, [{"price": 1.5}] {x} {name} { }'


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{nam}", "no value for 'nam' (did you mean 'name'?)"),
        ("{name.x}", "name"),
        ("{name}" * 501, "501 placeholders"),
        ("{name" + "[0]" * 33 + "}", "more than 32 steps"),
        ("{long}" * 3, "the limit is 1,000,000"),
        ("{long}" * 10, "more than 8,000,000 characters"),
    ],
)
def test_a_template_that_lacks_a_value_or_grows_is_refused(template: str, error: str) -> None:
    result = called("template.render", {"template": template, "values": {"name": "Ada", "long": LONG}})
    assert result.outcome == "failed"
    assert error in str(result.error)
