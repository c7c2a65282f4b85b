"""How long a provider wants to be left alone, from the headers of its answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS: Final = (3600.0, 60.0, 1.0, 0.001)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait, from `retry-after-ms` or Retry-After (RFC 9110: seconds or a date), else from OpenAI's
    `x-ratelimit-reset-…`, if nothing remains until then. None: not given.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    milliseconds = _number(lower.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = lower.get("retry-after")
    if value is None:
        return _until_reset(lower)
    seconds = _number(value)
    return seconds if seconds is not None else _seconds_until(value, now)


def _until_reset(lower: Mapping[str, str]) -> float | None:
    used_up = [kind for kind in ("requests", "tokens") if _number(lower.get(f"x-ratelimit-remaining-{kind}")) == 0]
    waits = (_duration(lower.get(f"x-ratelimit-reset-{kind}", "")) for kind in used_up)
    return max((wait for wait in waits if wait is not None), default=None)


def _duration(text: str) -> float | None:
    """`6m0s`, `20ms`, `1.5s` or a number of seconds."""
    parts = _DURATION.fullmatch(text)
    if parts is None or not any(parts.groups()):
        return _number(text)
    return sum(float(part or 0) * unit for part, unit in zip(parts.groups(), _UNITS, strict=True))


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def _seconds_until(value: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds())
