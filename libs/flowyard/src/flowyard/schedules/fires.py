"""The instants at which a rule fires, in UTC: an instant is a fire's identity. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Final, assert_never

from flowyard.schedules.cron import cron_fires
from flowyard.schedules.rules import Cron, Every, Rule, utc

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SPAN: Final = timedelta(hours=1)


def fires_after(rule: Rule, after: datetime) -> Iterator[datetime]:
    """All fires later than `after`, in order, each once. Without end, as far as the calendar goes."""
    match rule:
        case Cron():
            return cron_fires(rule, utc(after))
        case Every():
            return _every(rule.period, utc(after))
    assert_never(rule)


def fires_between(rule: Rule, after: datetime, until: datetime) -> Iterator[datetime]:
    """Those later than `after`, `until` included: intervals that follow each other share no fire, and miss none."""
    return takewhile(lambda fire: fire <= until, fires_after(rule, after))


def next_fires(rule: Rule, after: datetime, number: int) -> list[datetime]:
    return list(islice(fires_after(rule, after), number))


def latest_fires(rule: Rule, after: datetime, until: datetime, most: int) -> list[datetime]:
    """The last `most` of `fires_between`, in order. It looks from the end, in ever longer spans."""
    fires: list[datetime] = []
    end, span = until, _FIRST_SPAN
    while end > after and len(fires) < most:
        begin = max(after, end - span)
        fires = [*deque(fires_between(rule, begin, end), maxlen=most - len(fires)), *fires]
        end, span = begin, span * 2
    return fires


def _every(period: timedelta, after: datetime) -> Iterator[datetime]:
    number = (after - _EPOCH) // period
    while True:
        number += 1
        yield _EPOCH + number * period
