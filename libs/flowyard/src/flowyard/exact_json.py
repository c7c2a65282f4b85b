"""Reads JSON without guessing: settings whose amounts are exact, and what strangers send."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from flowyard.containers import require_few_containers

MOST_PLACES: Final = 30
"""Most decimal places of an amount: the database has a limit, and nobody can read longer ones."""
MOST_LEVELS: Final = 100
"""How deep a value may nest."""
_SHOWN: Final = 60
_FAULTS: Final = {
    "Expecting value": "no value begins here",
    "Expecting property name": "no key in double quotes begins here",
    "Expecting ':'": "a colon is missing",
    "Expecting ','": "a comma, or the end of the list or object, is missing",
    "Extra data": "the value has ended before",
    "Unterminated string": "a text begins here and doesn't end",
    "Invalid control character": "a text contains a line break or another control character",
    "Invalid \\": "a text contains an escape that JSON doesn't know",
    "Illegal trailing comma": "a comma comes before the end of a list or object",
    "Unexpected UTF-8 BOM": "a byte order mark comes first",
}
"""By the beginning of what Python says."""
_PAIR: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# Everything up to an escape that stands for U+0000, or for half of a surrogate pair; without going back.
_STORABLE: Final = re.compile(rf"(?:[^\\]++|{_PAIR}|\\u(?!0000|[dD][89a-fA-F])|\\[^u])*+", re.DOTALL)


def json_fault(error: ValueError | RecursionError) -> str:
    """What is wrong with a text that Python couldn't read as JSON, and where: `line 1 column 6: a colon is missing`."""
    match error:
        case json.JSONDecodeError():
            return f"line {error.lineno} column {error.colno}: {json_fault_in_words(error.msg)}"
        case RecursionError():
            return "it nests too deeply"
        case UnicodeDecodeError():
            return "it isn't UTF-8"
    return "a number has more than 4,300 digits" if str(error).startswith("Exceeds the limit") else str(error)


def json_fault_in_words(message: str) -> str:
    """`message`: of a JSONDecodeError, without the place."""
    return next((words for start, words in _FAULTS.items() if message.startswith(start)), "it can't be read")


def json_mapping(text: str, *, what: str, example: str) -> dict[str, Any]:
    """The JSON object of a setting, with exact numbers: 0.1 is no binary fraction. Raises ValueError.

    `what`: what it maps to what, for the message.
    """
    try:
        given = json.loads(
            text, parse_float=_decimal, parse_constant=_refuse_constant, object_pairs_hook=_no_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"should be JSON such as {example}: {json_fault(error)}") from error
    if not isinstance(given, dict):
        raise ValueError(f"should be a mapping of {what}, such as {example}")  # noqa: TRY004  # pydantic's
    return given


def strict_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8. Raises ValueError, also for what JSON allows and nothing can store as it is.

    That is: a key that an object has twice, U+0000, and half of a surrogate pair. TooManyContainers is one of them.
    """
    text = data.decode("utf-8-sig")
    require_few_containers(text)
    value = json.loads(text, object_pairs_hook=_no_duplicates)
    _require_storable(text)
    return value


def event_json(data: bytes) -> Any:
    """As `strict_json`, for what is stored as it came, and mapped before its values are checked.

    Numbers that JSON can't hold are refused, too, and what nests deeper than values may.
    """
    text = data.decode("utf-8-sig")
    require_few_containers(text)
    value = json.loads(text, parse_float=_finite, parse_constant=_refuse_no_number, object_pairs_hook=_no_duplicates)
    _require_storable(text)
    # Only so many brackets can nest so deeply.
    if text.count("[") + text.count("{") > MOST_LEVELS and _has_deeper_levels(value):
        raise ValueError(f"it nests deeper than {MOST_LEVELS} levels")
    return value


def _require_storable(text: str) -> None:
    storable = _STORABLE.match(text)
    end = storable.end() if storable is not None else 0
    if end < len(text):
        what = "the character U+0000" if text.startswith("\\u0000", end) else "half of a surrogate pair"
        line, column = text.count("\n", 0, end) + 1, end - text.rfind("\n", 0, end)
        raise ValueError(f"line {line} column {column}: a text contains {what} ({text[end : end + 6]})")


def amount_of(value: Any) -> Decimal | None:
    """A number in JSON, or in a text in JSON; None if it is none, or has more than MOST_PLACES."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and has_few_places(amount) else None


def has_few_places(amount: Decimal) -> bool:
    """Whether a finite amount has at most MOST_PLACES decimal places."""
    _, _, exponent = amount.as_tuple()
    return isinstance(exponent, int) and exponent >= -MOST_PLACES


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the exponent of {text[:_SHOWN]} is too large") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = set[str]()
        for name, _ in pairs:
            if name in names:
                shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
                raise ValueError(f"the key '{shown}' is there twice")
            names.add(name)
    return mapping


def _has_deeper_levels(value: Any) -> bool:
    """Whether it has more than MOST_LEVELS. Level by level: recursion has a limit of its own."""
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        level = [
            each
            for parent in level
            if isinstance(parent, list | dict)
            for each in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:_SHOWN]} is too large")
    return number


def _refuse_no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no amount")
