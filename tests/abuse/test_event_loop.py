"""What runs in an event loop, with each limit at its maximum: nothing may hold the loop for longer than 100 ms."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from flowyard.errors.steps import EvaluationError
from flowyard.exact_json import strict_json
from flowyard.language.nodes import ChatHistory
from flowyard.language.values.conform import conform
from flowyard.language.values.expression_values import ExpressionContext
from flowyard.language.values.expressions import parse_expression
from flowyard.language.values.limits import pattern_fault
from flowyard.language.values.templates import MAX_LENGTH, MAX_PLACEHOLDERS, MAX_STEPS, parse_template
from flowyard.language.values.types import ANY, MESSAGE, STR, Choice, Limited, ListOf
from flowyard.steps.history import read_history
from support.campaigns import Campaigns
from support.holding import LONGEST_S, held_s

HISTORY = ChatHistory(parse_template("{chat}"), max_tokens=100)
MEGABYTE = "é" * 1_000_000
NUMBERS = list(range(1_000_000))
NESTED: Any = "end"
for _ in range(MAX_STEPS):
    NESTED = [NESTED]
STATE: dict[str, Any] = {"s": MEGABYTE, "xs": NUMBERS, "ys": list(NUMBERS), "n": NESTED, "t": "x" * 15_000}
INLINE = 64 * 1024
"""Bytes of a body or a reply that is read in the loop itself; longer ones are read in a thread."""


AROUND = ExpressionContext(lambda _: 0)


def rendered(text: str) -> Callable[[], object]:
    template = parse_template(text)
    return lambda: outcome(lambda: template.render(STATE.__getitem__))


def evaluated(text: str) -> Callable[[], object]:
    expression = parse_expression(text)
    return lambda: outcome(lambda: expression.value(STATE.__getitem__, AROUND))


def outcome(work: Callable[[], object]) -> object:
    try:
        return work()
    except EvaluationError as error:
        return str(error)


def conformed(kind: Any, value: Any) -> Callable[[], object]:
    return lambda: conform(kind, value, "x", [])


WORK: dict[str, Callable[[], object]] = {
    "a text with many placeholders": rendered("{t}" * MAX_PLACEHOLDERS),
    "a text with many large values": rendered("{s}" * MAX_PLACEHOLDERS),
    "a text with many long paths": rendered(("{n" + "[0]" * MAX_STEPS + "}") * MAX_PLACEHOLDERS),
    "a long text": rendered("x" * (MAX_LENGTH - 3) + "{t}"),
    "adding texts": evaluated(" + ".join(["s"] * 28)),
    "adding lists": evaluated(" + ".join(["xs"] * 28)),
    "changing texts": evaluated(" == ".join(["lower(s)"] * 70)),
    "searching texts": evaluated(" and ".join(["contains(s, 'x') == false"] * 35)),
    "searching lists": evaluated("'x' in xs"),
    "comparing lists": evaluated(" and ".join(["xs == ys"] * 70)),
    "parsing an expression": lambda: parse_expression(" and ".join(["s == 'abc'"] * 70)),
    "a pattern": lambda: pattern_fault(r"\w{199}\d{99}[a-z]{50}"),
    "a pattern on a long text": conformed(Limited(STR, pattern="(a|aa|[ab]*)*c"), "ab" * 500_000),
    "an inline body": lambda: strict_json(json.dumps([{}] * (INLINE // 4)).encode()),
    "inline numbers": conformed(ListOf(ANY), [1] * (INLINE // 2)),
    "inline objects": conformed(ANY, [{"a": {}}] * (INLINE // 12)),
    "an inline conversation": conformed(ListOf(MESSAGE), [{"role": "user", "content": ""}] * (INLINE // 28)),
    "turns of a conversation": lambda: read_history(HISTORY, {"chat": [{"role": "user", "content": "x"}] * 2_000}),
    "inline choices": conformed(ListOf(Choice(tuple(f"v{i}" for i in range(500)))), ["v499"] * (INLINE // 7)),
}


@pytest.mark.parametrize("what", WORK)
def test_nothing_holds_an_event_loop(campaign: Campaigns, what: str) -> None:
    with campaign("work that holds an event loop").attempt(what):
        assert held_s(WORK[what]) < LONGEST_S


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (rendered("{s}" * 9), "with its values, the text has more than 8,000,000 characters"),
        (evaluated("(s + s + s + s) + (s + s + s) + (s + s)"), "a value has more than 8,000,000 parts in"),
        (evaluated("'x' in xs"), "more than 100,000 values are compared in"),
        (evaluated(" == ".join(["lower(s)"] * 51)), "more than 25,000,000 characters are read in"),
    ],
)
def test_what_would_hold_it_fails_with_a_reason(work: Callable[[], object], message: str) -> None:
    assert str(work()).startswith(message)
