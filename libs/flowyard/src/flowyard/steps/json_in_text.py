"""Finds the JSON in a model's reply: models surround it by reasoning, fences and prose. Pure, in linear time."""

from __future__ import annotations

import json
import re
from collections.abc import Set
from contextlib import suppress
from typing import Any, Final

from flowyard.containers import MOST_CONTAINERS, TooManyContainers, require_few_containers

_FENCE: Final = "```"
_OPENING: Final = re.compile(r"[{\[]")
_NEAR: Final = 20
_BEFORE: Final = re.compile(r"(?:\A|[\n:])[ \t]*\Z")
_AFTER: Final = re.compile(r"[ \t\r]*(?:\n|\Z)")
"""What is around a value that is alone on its lines, of which the first may introduce it: `The list: [1]`."""
_BRACKET_OR_QUOTE: Final = re.compile(r"[{\[\]}\"']")
_MAX_OPENINGS: Final = 1000
"""Brackets in prose that are looked at: each that begins no JSON takes time in proportion to the text."""
_TAKES_BACK: Final = re.compile(
    r"\b(can(not|['\u2019]t| not)|won['\u2019]t|unable|not able|refuse|example|for instance|placeholder)\b|\be\.g\.",
    re.IGNORECASE,
)
"""Words of a refusal, or around an example. Where a model means something else by them, it is asked once more."""


class UnclearJson(ValueError):
    """JSON that doesn't say which value is meant, or one that can't be kept. The message says why."""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise UnclearJson(f"an object has the key {json.dumps(repeated[:100], ensure_ascii=False)} more than once")
    return mapping


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_mapping)


def parse(text: str) -> Any:
    """The text as JSON, in which true, false and null may have capitals.

    Raises ValueError or RecursionError; UnclearJson for a key that is repeated, for a number with too many digits, and
    for too many lists and objects.
    """
    bare = text.strip()
    is_constant = len(bare) <= 5 and bare.lower() in ("true", "false", "null")
    try:
        require_few_containers(bare)
        return _DECODER.decode(bare.lower() if is_constant else bare)
    except ValueError as error:
        raise _in_our_words(error) from error


def _in_our_words(error: ValueError) -> ValueError:
    if isinstance(error, TooManyContainers):
        return UnclearJson(str(error))
    # Python reads no larger number, and its message says how to change Python.
    return UnclearJson("a number has more than 4,300 digits") if "digits" in str(error) else error


def values_in(text: str, names: Set[str]) -> tuple[list[Any], list[Any]]:
    """The JSON in a text that isn't JSON itself: what is meant as the reply, and what may be.

    Prose may mention JSON, or show the form that it should have. So a value is meant if it is in a fence, or alone on
    its lines at the beginning or the end of the text, and if no words around it take it back. It may be meant if it is
    alone on its lines elsewhere, or is an object with exactly these names. Raises UnclearJson, RecursionError.
    """
    # All of them, also those in prose and in strings: where a value begins and ends isn't known yet.
    if (brackets := text.count("[") + text.count("{")) > MOST_CONTAINERS:
        raise UnclearJson(f"it has {brackets:,} opening brackets; at most {MOST_CONTAINERS:,} are allowed")
    blocks, prose = _split(text)
    meant, unclear, around = _in_prose(prose.strip(), names)
    for block in blocks:
        with suppress(json.JSONDecodeError):
            meant.append(parse(block))
    return ([], meant + unclear) if _TAKES_BACK.search(around) else (meant, unclear)


def _split(text: str) -> tuple[list[str], str]:
    """The blocks between two lines that begin with a fence, and the text around them, with a fence for each."""
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
            around.append(_FENCE)
            block = None
    return blocks, "\n".join([*around, *(block or [])])


def _in_prose(text: str, names: Set[str]) -> tuple[list[Any], list[Any], str]:
    """The values that are meant, those that may be, and the text around them."""
    meant: list[Any] = []
    unclear: list[Any] = []
    around: list[str] = []
    begin = end = 0
    for _ in range(_MAX_OPENINGS):
        opening = _OPENING.search(text, end)
        if opening is None:
            break
        start = opening.start()
        try:
            value, end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError:
            end = _end_of_brackets(text, start)
            continue
        except ValueError as error:
            raise _in_our_words(error) from error
        is_alone = _BEFORE.search(text, max(0, start - _NEAR), start) and _AFTER.match(text, end)
        if is_alone and (start == 0 or end == len(text)):
            meant.append(value)
        elif is_alone or (isinstance(value, dict) and value.keys() == names):
            unclear.append(value)
        around.append(text[begin:start])
        begin = end
    return meant, unclear, " ".join([*around, text[begin:]])


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
