"""Rates and sizes in documents: `10/s`, `300/min`, `1000/h`; `256 kB`, `1 MB`, or a number of bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from flowyard.language.values.durations import DurationError

_SECONDS: Final = {"s": 1, "min": 60, "h": 3600}
_BYTES: Final = {"B": 1, "kB": 1000, "MB": 1_000_000}
RATE: Final = rf"^[1-9][0-9]{{0,6}}/({'|'.join(_SECONDS)})$"
SIZE: Final = rf"^[1-9][0-9]{{0,8}} ?({'|'.join(_BYTES)})$"
_RATE: Final = re.compile(r"([1-9][0-9]{0,6})/([a-z]+)")
_SIZE: Final = re.compile(r"([1-9][0-9]{0,8}) ?([A-Za-z]+)")
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in `per_s` seconds."""

    count: int
    per_s: int


def read_rate(value: Any) -> Rate:
    """Raises DurationError."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in _SECONDS:
        raise DurationError(f"{repr(value)[:_SHOWN]} isn't a rate", "write 10/s, 300/min or 1000/h")
    return Rate(int(match[1]), _SECONDS[match[2]])


def read_size(value: Any) -> Any:
    """The bytes that a text stands for; what isn't a text is returned unchanged. Raises DurationError."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None or match[2] not in _BYTES:
        raise DurationError(f"{repr(value)[:_SHOWN]} isn't a size", "write 256 kB, 1 MB, or a number of bytes")
    return int(match[1]) * _BYTES[match[2]]
