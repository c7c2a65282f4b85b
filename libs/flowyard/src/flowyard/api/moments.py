"""Reads times that people write: `7d` ago or from now, a day, or a time with its zone. Pure, and quick to import."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

HOW_TO_WRITE: Final = (
    "a duration such as 7d, 24h or 30m, a day such as 2026-11-23, or a time such as 2026-11-23T08:00:00Z"
)

_DURATION: Final = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)


def read_moment(text: str) -> datetime | timedelta:
    """A time, or how long ago it is. A day begins at midnight UTC. Raises ValueError, which says what is expected."""
    text = text.strip()
    if duration := _DURATION.fullmatch(text):
        return timedelta(**{_UNITS[duration[2]]: int(duration[1])})
    try:
        at = _midnight(text) if _DAY.fullmatch(text) else datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"should be {HOW_TO_WRITE}") from None
    if at.tzinfo is None:
        raise ValueError("has no time zone: end it with Z for UTC, or with another zone's offset")
    return as_utc(at)


def moment(given: datetime | timedelta | None, now: datetime) -> datetime | None:
    """The result of `read_moment` as a time."""
    if not isinstance(given, timedelta):
        return given
    return now - given if given < now - _EARLIEST else _EARLIEST


def moment_from_now(given: datetime | timedelta, now: datetime) -> datetime:
    """The result of `read_moment` as a time after `now`. Raises ValueError, which says why it can't be that."""
    try:
        at = now + given if isinstance(given, timedelta) else given
    except OverflowError:
        raise ValueError("is too far away: the last year is 9999") from None
    if at <= now:
        raise ValueError("should be in the future")
    return at


def as_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:  # in UTC it would be outside of the years 1 to 9999
        return at.replace(tzinfo=UTC)


def _midnight(text: str) -> datetime:
    day = date.fromisoformat(text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
