"""Which fires of a schedule have to be started now. Pure: time comes in, and nothing is remembered.

Several registries may compute it at the same time. They get the same result, and the row of a fire, which is unique by
schedule and instant, decides who starts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal, TypeAlias, assert_never

from flowyard.schedules.fires import latest_fires, next_fires
from flowyard.schedules.rules import Rule, utc

CatchUp: TypeAlias = Literal["none", "last", "all"]
"""Which missed fires are started late. `last`: the latest one, unless another is on time."""

MOST_DUE: Final = 100
"""Fires that are started together; older ones are skipped."""
ON_TIME: Final = timedelta(minutes=1)
"""A fire that is started no later than this wasn't missed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """`jitter`: fires start up to this much later. `window`: a fire that was missed by as much is never started."""

    id: str
    rule: Rule
    jitter: timedelta = timedelta()
    catch_up: CatchUp = "last"
    window: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DueFires:
    """`fires`: in order. `handled`: that of the next call.

    `skipped_since`: the first fire that is not started, because it was missed, or because there are too many; None: all
    are started.
    """

    fires: tuple[datetime, ...]
    handled: datetime
    skipped_since: datetime | None


def due_fires(schedule: Schedule, *, handled: datetime, now: datetime) -> DueFires:
    """`handled`: all fires up to this instant were started or skipped before; at first, when the schedule was made.

    If the clock was set back behind `handled`, nothing is due until it has passed it.
    """
    handled, now = utc(handled), utc(now)
    oldest = now - max(schedule.window, ON_TIME)
    begin = max(handled, oldest - schedule.jitter)
    begun = latest_fires(schedule.rule, begin, now, MOST_DUE + 1)
    # A fire starts before the next one comes, so that no other can still be ahead.
    if begun and start_of(schedule, begun[-1]) > now:
        begun.pop()
    starts = {fire: start_of(schedule, fire) for fire in begun[-MOST_DUE:]}
    on_time = [fire for fire, start in starts.items() if start > now - ON_TIME]
    missed = [fire for fire, start in starts.items() if oldest < start <= now - ON_TIME]
    fires = (*_caught_up(missed, schedule.catch_up, is_on_time=bool(on_time)), *on_time)
    handled_now = begun[-1] if begun else max(handled, min(begin, now))
    return DueFires(fires, handled_now, _skipped_since(schedule.rule, handled, handled_now, fires))


def start_of(schedule: Schedule, fire: datetime) -> datetime:
    """When the fire starts. It is the same for all registries, and before the next fire."""
    if not schedule.jitter:
        return fire
    following = next_fires(schedule.rule, fire, 1)
    most = min(schedule.jitter, following[0] - fire) if following else schedule.jitter
    digest = sha256(f"{schedule.id} {utc(fire).isoformat()}".encode()).digest()
    fraction = int.from_bytes(digest[:8], "big")
    return fire + timedelta(microseconds=(most // timedelta(microseconds=1)) * fraction >> 64)


def _caught_up(missed: list[datetime], mode: CatchUp, *, is_on_time: bool) -> list[datetime]:
    match mode:
        case "none":
            return []
        case "last":
            return [] if is_on_time else missed[-1:]
        case "all":
            return missed
    assert_never(mode)


def _skipped_since(rule: Rule, handled: datetime, until: datetime, fires: tuple[datetime, ...]) -> datetime | None:
    first = next_fires(rule, handled, 1)
    is_skipped = bool(first) and first[0] <= until and first[0] not in fires
    return first[0] if is_skipped else None
