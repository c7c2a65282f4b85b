"""Small documents that mean a lot of work are answered in seconds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from flowyard.language.load import load_bytes
from flowyard.language.values.expressions import ExpressionSyntaxError, parse_expression
from unit.language.answers import check

HEAD = "flow: {name: a}\nstate: {fields: {t: {type: str, required: true}, p: str}}\n"
NODES = "nodes:\n  - {id: w, prompt: '{t}', outputs: [p]}\n"
PATTERNS = "flow: {name: a}\nstate:\n  fields:\n    t: {type: str, required: true}\n    p: str\n%s" + NODES
PROMPT = HEAD + "nodes:\n  - id: w\n    outputs: [p]\n    prompt: '%s'\n"


def laughs() -> str:
    lines = [f"{name}: &{name} [{f'*{before},' * 9}]\n" for before, name in itertools.pairwise("abcdefghi")]
    return "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(lines)


def deep_aliases() -> str:
    lines = ["    a0: &a0 x"]
    lines += [f"    a{i}: &a{i} {'[' * 50}*a{i - 1}{']' * 50}" for i in range(1, 40)]
    return HEAD + NODES + "config:\n  storage:\n" + "\n".join(lines)


def nodes(count: int) -> str:
    return HEAD + "nodes:\n" + "".join(f"  - {{id: n{i}, prompt: x, outputs: [p]}}\n" for i in range(count))


def everything_to_everything() -> str:
    names = ", ".join(f"n{i}" for i in range(150))
    return nodes(150) + "edges:\n" + "".join(f"  - {{from: n{i}, to: [{names}]}}\n" for i in range(150))


BOMBS: dict[str, Callable[[], str]] = {
    "a billion laughs": laughs,
    "aliases that nest": deep_aliases,
    "an alias in its own anchor": lambda: "a: &a [*a]",
    "brackets": lambda: "[" * 100_000,
    "braces": lambda: "{a: " * 100_000,
    "dashes": lambda: "- " * 100_000,
    "indentation": lambda: "".join(" " * i + "a:\n" for i in range(1_200)),
    "tabs": lambda: "\t" * 100_000,
    "colons": lambda: "a: b: " * 100_000,
    "a broken line of braces": lambda: "@" + "{" * 900_000,
    "a broken line of types": lambda: "a: @" + "{x:" * 300_000,
    "a thousand digits": lambda: HEAD + NODES + f"schema_version: {'9' * 1_000}\nwebhook: -{'9' * 299}\n",
    "placeholders": lambda: PROMPT % ("{zz}" * 200_000),
    "foreign placeholders": lambda: PROMPT % ("{{t}}{% if t %}{t.upper(" * 40_000),
    "patterns": lambda: PATTERNS % "".join(f"    f{i}: {{type: str, pattern: '\\w{{99}}x{i}'}}\n" for i in range(500)),
    "open braces in a prompt": lambda: PROMPT % ("{ " * 490_000),
    "closed braces in a prompt": lambda: PROMPT % ("}" * 900_000),
    "a long name": lambda: PROMPT % ("{" + "ab" * 400_000 + "}"),
    "long keys": lambda: f"{HEAD}{NODES}? {'k' * 400_000}\n: 1\n",
    "unknown keys": lambda: HEAD + NODES + "".join(f"prompr{i}: 1\n" for i in range(20_000)),
    "unknown types": lambda: "state:\n  fields:\n" + "".join(f"    f{i}: strr\n" for i in range(9_000)) + NODES,
    "boolean words": lambda: f"x: [{'yes,' * 40_000}]",
    "more nodes than allowed": lambda: nodes(6_000),
    "edges to nowhere": lambda: nodes(900) + "edges:\n" + "".join(f"  - {{from: m{i}, to: q}}\n" for i in range(6_000)),
    "edges from everywhere to everywhere": everything_to_everything,
    "nested schemas": lambda: "state: {fields: {a: " + "{type: object, schema: {b: " * 28 + "str" + "}}" * 28 + "}}",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_answered_within_four_seconds(bomb: Callable[[], str]) -> None:
    text = bomb()
    began = time.process_time()
    check(load_bytes(text.encode(), "x.yaml"), text)
    # A slow machine needs about 2 s of CPU for the worst of them.
    assert time.process_time() - began < 4


@pytest.mark.parametrize(
    "text",
    ["(" * 900 + ")" * 900, "not " * 400 + "ok", "-" * 1_900 + "1", "n" + ".a" * 900, "n" + " < n" * 400, "x" * 9_999],
    ids=["parentheses", "nots", "signs", "steps", "comparisons", "length"],
)
def test_an_expression_bomb_is_refused(text: str) -> None:
    with pytest.raises(ExpressionSyntaxError):
        parse_expression(text)
