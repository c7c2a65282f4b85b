"""Filters of templates: values as people read them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

from flowyard.web.pages.columns import cut_columns


def cut(text: str, length: int) -> str:
    """The first `length` characters of a text, and the number of characters that are missing."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length:,} more characters)"


def cut_tight(text: str, length: int) -> str:
    """The text, cut to at most `length` characters. Unlike `cut`, it doesn't show how many are missing."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def short_id(run_id: str) -> str:
    """The end of a run's id, which distinguishes runs: an id begins with the time, and its end is random."""
    return run_id[-8:]


def number(value: int | None) -> str:
    """A number with thousands separators; None: `unknown`."""
    return "unknown" if value is None else f"{value:,}"


def money(value: Decimal | None) -> str:
    """US dollars. A small cost is never rounded to 0."""
    if value is None:
        return "unknown"
    if 0 < value < Decimal("0.0001"):
        return "< $0.0001"
    if value == 0:
        return "$0"
    return f"${value:,.4f}"


def path_segment(name: str) -> str:
    """A name, encoded as a segment of a URL's path."""
    return quote(name, safe="")


def seconds(duration: float | timedelta) -> str:
    """A duration, such as `2.5 s`. A float: in seconds."""
    s = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if s < 1:
        return f"{s * 1000:.0f} ms"
    if s < 60:
        return f"{s:.1f} s"
    minutes, rest = divmod(int(s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(at: datetime) -> str:
    """A time, until a script replaces it by the browser's local time. Of the same length, so that nothing moves."""
    return at.strftime("%b %d %H:%M:%S")


def utc(at: datetime) -> str:
    """A time for the `datetime` of a `time` element."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


FILTERS: Final[tuple[Callable[..., Any], ...]] = (
    cut, cut_tight, cut_columns, path_segment, money, number, seconds, short_id, moment, utc
)  # fmt: skip
