"""Limits of values: numbers, lengths of lists, patterns of texts, dates and times."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from flowyard.language.values.types import INT, Choice, Limited, Nullable, Type

MAX_PATTERN: Final = 200
MAX_PATTERNS: Final = 20
"""Different ones in a document: it can take 0.2 s to compile one."""
_LITERAL: Final = re.compile(r"\\.|\[\^?\]?[^\]]*\]")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


def limit_fault(kind: Limited, value: Any) -> str | None:
    """Why the value is beyond its limits; None if it isn't."""
    if isinstance(value, str):
        fits = kind.pattern is None or _matches(kind.pattern, value)
        return None if fits else f"the text doesn't fit the pattern {kind.pattern}"
    size = len(value) if isinstance(value, list) else value
    of = f" items, not {size}" if isinstance(value, list) else f", not {size}"
    if kind.least is not None and size < kind.least:
        return f"must {'have' if isinstance(value, list) else 'be'} at least {kind.least}{of}"
    if kind.most is not None and size > kind.most:
        return f"must {'have' if isinstance(value, list) else 'be'} at most {kind.most}{of}"
    return None


def has_no_value(kind: Type) -> bool:
    """Whether limits, such as those of a field and of an `output_schema`, exclude each other."""
    least, most, patterns = -math.inf, math.inf, list[str]()
    while isinstance(kind, Limited | Nullable):
        if isinstance(kind, Limited):
            least = least if kind.least is None else max(least, kind.least)
            most = most if kind.most is None else min(most, kind.most)
            patterns += [kind.pattern] if kind.pattern is not None else []
        kind = kind.inner
    if isinstance(kind, Choice):
        return not any(all(_matches(pattern, value) for pattern in patterns) for value in kind.values)
    return least > most or (kind == INT and math.isfinite(least + most) and math.ceil(least) > math.floor(most))


def pattern_fault(pattern: str) -> str | None:
    """Why a text isn't a pattern; None if it is one."""
    depth = 0
    for bracket in re.findall(r"[()]", _LITERAL.sub("", pattern)):
        depth += 1 if bracket == "(" else -1
        if depth < 0:
            # Between the parentheses that `whole` adds, it would be a pattern.
            return "unopened group"
    try:
        _compiled(whole(pattern))
    except SchemaError as error:
        return str(error).strip().splitlines()[-1].strip().removeprefix("error: ").removeprefix("SchemaError: ")
    return None


def whole(pattern: str) -> str:
    """The pattern as JSON Schema writes it, where a pattern fits any part of a text. Not every server knows `(?:`."""
    return f"^({pattern})$"


def _matches(pattern: str, text: str) -> bool:
    try:
        _compiled(whole(pattern)).validate_python(text)
    except ValidationError:
        return False
    return True


# A compiled pattern has at most 10 MB.
@lru_cache(maxsize=32)
def _compiled(pattern: str) -> TypeAdapter[str]:
    # Pydantic's engine takes time in proportion to the text, whatever the pattern is; Python's may take forever.
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


def read_date(text: str) -> str:
    """The date. Raises ValueError, whose text says what is wrong."""
    if not _DATE.fullmatch(text):
        raise ValueError("isn't a date such as 2026-01-31")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("is no day of the calendar") from None


def read_datetime(text: str) -> str:
    """The time in UTC, in a form that sorts as a text. Raises ValueError, whose text says what is wrong."""
    match = _DATETIME.fullmatch(text)
    if match is None:
        raise ValueError("isn't a time such as 2026-01-31T10:00:00Z")
    if match[2] is None:
        raise ValueError("has no offset from UTC: add Z or +01:00")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise ValueError("is no time of the calendar") from None
