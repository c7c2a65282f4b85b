"""Finds the JSON in a model's reply: models surround it by reasoning, fences and prose. Pure, in linear time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from contextlib import suppress
from typing import Any, Final

_FENCE: Final = "```"
_OPENING: Final = re.compile(r"[{\[]")
_NEAR: Final = 20
_BEFORE: Final = re.compile(r"(?:\A|[\n:])[ \t]*\Z")
_AFTER: Final = re.compile(r"[ \t\r]*(?:\n|\Z)")
"""What is around a value that is alone on its lines, of which the first may introduce it: `The list: [1]`."""
_BRACKET_OR_QUOTE: Final = re.compile(r"[{\[\]}\"']")
_MAX_OPENINGS: Final = 1000
"""Brackets in prose that are looked at: each that begins no JSON takes time in proportion to the text."""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


def parse(text: str) -> Any:
    """The text as JSON, in which true, false and null may have capitals. Raises ValueError or RecursionError."""
    bare = text.strip()
    is_constant = len(bare) <= 5 and bare.lower() in ("true", "false", "null")
    return json.loads(bare.lower() if is_constant else bare, parse_constant=_refuse)


def values_in(text: str, names: Set[str]) -> list[Any]:
    """The JSON in a text that isn't JSON itself: in its fences, and objects and lists in its prose.

    Prose may mention JSON (`see [1]`). So a value in prose counts only if it is alone on its lines, or if it is an
    object with exactly these names. Raises RecursionError.
    """
    blocks, prose = _split(text)
    values = list(_in_prose(prose, names))
    for block in blocks:
        with suppress(ValueError):
            values.append(parse(block))
    return values


def _split(text: str) -> tuple[list[str], str]:
    """The blocks between two lines that begin with a fence, and the text around them."""
    blocks: list[str] = []
    around: list[str] = []
    block: list[str] | None = None
    for line in text.split("\n"):
        if not line.lstrip().startswith(_FENCE):
            (around if block is None else block).append(line)
        elif block is None:
            block = []
        else:
            blocks.append("\n".join(block))
            block = None
    return blocks, "\n".join([*around, *(block or [])])


def _in_prose(text: str, names: Set[str]) -> Iterator[Any]:
    end = 0
    for _ in range(_MAX_OPENINGS):
        opening = _OPENING.search(text, end)
        if opening is None:
            return
        start = opening.start()
        try:
            value, end = _DECODER.raw_decode(text, start)
        except ValueError:
            end = _end_of_brackets(text, start)
            continue
        has_names = isinstance(value, dict) and value.keys() == names
        if has_names or (_BEFORE.search(text, max(0, start - _NEAR), start) and _AFTER.match(text, end)):
            yield value


def _end_of_brackets(text: str, start: int) -> int:
    """Where the bracket at `start`, which begins no JSON, is closed, such as that of `{name}`.

    The end of the text if it never is, or if there are quotes within: then it is JSON that was cut off or is broken,
    and a part of it isn't what was meant.
    """
    depth = 0
    for match in _BRACKET_OR_QUOTE.finditer(text, start):
        if match[0] in "\"'":
            break
        depth += 1 if match[0] in "{[" else -1
        if depth == 0:
            return match.end()
    return len(text)
