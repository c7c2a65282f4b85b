"""The instants of a cron expression in its time zone. Pure.

cronsim reads the expression and gives local times. What they are in UTC is decided here, by the rules of Debian's cron
(man 8 cron). cronsim can do that, too, but where the clock is moved by half an hour, its fires depend on the instant at
which it begins, and where midnight is left out, it takes 01:00 for 00:00.

- A job at fixed times runs once a day, whatever the clock does. A time that is left out runs at the end of the gap, and
  a time that comes twice runs the first time.
- A job whose minute or hour begins with `*` follows the clock: what is left out doesn't run, and what comes twice runs
  twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from flowyard.schedules.rules import Cron, InvalidRule
from flowyard.schedules.zones import zone

_MINUTE: Final = timedelta(minutes=1)
_AROUND: Final = timedelta(hours=36)
_MOST_MOVED: Final = timedelta(hours=25)
"""More than any clock was ever moved: Samoa left out a day."""


def cron_fires(rule: Cron, after: datetime) -> Iterator[datetime]:
    """All later than `after`, which is in UTC: in order, each once. It ends if nothing comes for 50 years."""
    place = zone(rule.timezone)
    if place is None:
        raise InvalidRule(f"no time zone '{rule.timezone}'", "read it by read_cron")
    is_fixed = not any(field.startswith("*") for field in rule.expression.split()[:2])
    latest, seconds = after, deque[datetime]()
    for local in CronSim(rule.expression, _start(after, place)):
        first, second = _instants(local, place, is_fixed=is_fixed)
        if first is None:
            continue
        # Times that come twice are all over before they come the second time.
        while seconds and seconds[0] < first:
            if seconds[0] > latest:
                latest = seconds[0]
                yield latest
            seconds.popleft()
        if first > latest:
            latest = first
            yield latest
        if second is not None:
            seconds.append(second)
    yield from (instant for instant in seconds if instant > latest)


def _start(after: datetime, place: ZoneInfo) -> datetime:
    """A local time before those of all fires later than `after`; some earlier ones may follow it, too."""
    offsets = {(after + moved).astimezone(place).utcoffset() for moved in (-_AROUND, timedelta(), _AROUND)}
    local = after.astimezone(place).replace(tzinfo=None)
    return local if len(offsets) == 1 else local - _MOST_MOVED


def _instants(local: datetime, place: ZoneInfo, *, is_fixed: bool) -> tuple[datetime | None, datetime | None]:
    """When it is this time, and when for the second time."""
    before, after = _offsets(local, place)
    if before >= after:
        comes_twice = before > after and not is_fixed
        return _at(local, before), _at(local, after) if comes_twice else None
    if not is_fixed:
        return None, None
    while before < after:
        local += _MINUTE
        before, after = _offsets(local, place)
    return _at(local, before), None


def _offsets(local: datetime, place: ZoneInfo) -> tuple[timedelta, timedelta]:
    """By the clock before it is moved, and after it. They differ only near that moment (PEP 495)."""
    zero = timedelta()
    return place.utcoffset(local) or zero, place.utcoffset(local.replace(fold=1)) or zero


def _at(local: datetime, offset: timedelta) -> datetime:
    return (local - offset).replace(tzinfo=UTC)
