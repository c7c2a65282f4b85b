"""Times in documents: `10s`, `5m`, `1h30m`, `500ms`, or a plain number of seconds."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Final

_UNITS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([^\W\d_]*)")
_SYNONYMS: Final = {
    "day": "d", "days": "d", "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "minute": "m", "minutes": "m",
    "min": "m", "mins": "m", "second": "s", "seconds": "s", "sec": "s", "secs": "s", "msec": "ms", "millis": "ms",
}  # fmt: skip
_MAX_LENGTH: Final = 60
_HINT: Final = "write 30s, 5m, 1h30m, 500ms, or a number of seconds"
_NEXT: Final = dict(pairwise(_UNITS))
"""The next smaller unit."""
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})")
DURATION: Final = r"^(?=.)" + "".join(rf"([0-9]+(\.[0-9]+)?{unit})?" for unit in _UNITS) + "$"
"""The texts that `read_duration` accepts, as a regular expression."""


class DurationError(ValueError):
    """A text isn't a time. `suggestion`: what would be right. `is_number`: it is a number in quotes."""

    def __init__(self, message: str, suggestion: str, *, is_number: bool = False) -> None:
        super().__init__(message)
        self.suggestion = suggestion
        self.is_number = is_number


def read_duration(value: Any) -> Any:
    """The seconds that a text stands for; what isn't a text is returned unchanged. Raises DurationError."""
    return _seconds(value) if isinstance(value, str) else value


def _seconds(text: str) -> float:
    seconds, units = 0.0, list(_UNITS)
    for number, unit in _parts(text):
        if unit not in units:
            order = ", ".join(_UNITS)
            raise DurationError(f"'{unit}' can't follow in '{text}'", f"each unit at most once, in the order {order}")
        units = units[units.index(unit) + 1 :]
        seconds += float(number) * _UNITS[unit]
    return seconds


def _parts(text: str) -> list[tuple[str, str]]:
    """The numbers of a time, each with its unit."""
    matches = list(_PART.finditer(text)) if len(text) <= _MAX_LENGTH else []
    if not matches or "".join(match[0] for match in matches) != text:
        shown = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"
        raise DurationError(f"'{shown}' isn't a time", _hint(text))
    previous = ""
    for number, unit in (match.groups() for match in matches):
        if not unit:
            hint = (
                f"remove the quotes, or write {number}s"
                if number == text
                else f"write {text}{_NEXT.get(previous, 's')}"
            )
            raise DurationError(f"'{number}' has no unit", hint, is_number=number == text)
        if unit not in _UNITS:
            right = _SYNONYMS.get(unit.lower(), unit.lower())
            hint = f"write {number}{right}" if right in _UNITS else f"units: {', '.join(_UNITS)}"
            raise DurationError(f"no unit '{unit}'", hint)
        previous = unit
    return [(match[1], match[2]) for match in matches]


def _hint(text: str) -> str:
    joined = "".join(text.split())
    if joined != text and re.fullmatch(DURATION, joined):
        return f"write {joined}, without spaces"
    clock = _CLOCK.fullmatch(text)
    return f"write {clock[1]}h{clock[2]}m, or {clock[1]}m{clock[2]}s" if clock else _HINT
