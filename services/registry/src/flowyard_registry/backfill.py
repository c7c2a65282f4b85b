"""Starts fires of a schedule by hand. They go through the rows of all fires, so that none starts twice."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final

from flowyard.access import Actor
from flowyard.api.triggers import Backfill, Backfilled
from flowyard.errors.requests import InvalidRequest
from flowyard.errors.services import Unavailable
from flowyard.errors.webhooks import TriggerPaused
from flowyard.schedules.facts import fire_facts, in_zone, previous_fire
from flowyard.schedules.fires import fires_between
from flowyard.schedules.rules import Rule, rule_of
from flowyard.storage.fires import FireRow, LockedSchedule
from flowyard_registry.fire import new_fire_id
from flowyard_registry.parts import RegistryParts

MOST: Final = 10_000
"""Fires of one backfill."""
_FIRST: Final = datetime(1900, 1, 1, tzinfo=UTC)
"""What was long before can't be computed: the fire before it may be before the first year of the calendar."""
_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_TRIES: Final = 10


async def backfill(
    parts: RegistryParts, workflow: str, name: str, wanted: Backfill, *, by: Actor | None = None
) -> Backfilled:
    """Raises UnknownTrigger, InvalidRequest, TriggerPaused, Unavailable."""
    for _ in range(_TRIES):
        stored = await parts.triggers.get(workflow, name)
        if stored.rule is None:
            raise InvalidRequest([{"where": "path.name", "message": f"'{name}' is a {stored.kind}, and no schedule"}])
        if not stored.is_live:
            raise TriggerPaused
        rule = rule_of(stored.rule)
        fires = await asyncio.to_thread(_fires, rule, wanted, await parts.fires.now())
        async with parts.fires.locked(stored, wait=True) as locked:
            if locked is not None:
                return await _add(locked, rule, fires, by)
    raise Unavailable("the schedule, which changes all the time,")


async def _add(locked: LockedSchedule, rule: Rule, fires: Sequence[datetime], by: Actor | None) -> Backfilled:
    taken = await locked.taken(fires[0], fires[-1]) if fires else set()
    rows = await asyncio.to_thread(_rows, locked, rule, fires, taken)
    done = await locked.backfill(rows, by=by)
    # Looked at at once, so that the first ones start.
    await locked.save(handled_at=locked.handled_at, due_at=locked.now)
    return Backfilled(fires=len(fires), added=done.added, again=done.again, kept=len(fires) - len(rows))


def _rows(locked: LockedSchedule, rule: Rule, fires: Sequence[datetime], taken: Collection[datetime]) -> list[FireRow]:
    rows: list[FireRow] = []
    previous = previous_fire(rule, fires[0]) if fires else None
    for at in fires:
        if at not in taken:
            number = locked.fires + len(rows) + 1
            facts = fire_facts(rule, at, number=number, backfill=True, previous=previous)
            row_id = new_fire_id(locked.now, place=len(rows))
            rows.append(FireRow(id=row_id, at=at, facts=facts, outcome="waiting"))
        previous = at
    return rows


def _fires(rule: Rule, wanted: Backfill, now: datetime) -> list[datetime]:
    """Raises InvalidRequest."""
    begin, end = _bound("from", wanted.from_, rule), _bound("to", wanted.to, rule, is_end=True)
    if begin < _FIRST:
        raise InvalidRequest([{"where": "body.from", "message": f"is before {_FIRST.year}"}])
    if begin > end:
        raise InvalidRequest([{"where": "body.to", "message": "is earlier than 'from'"}])
    fires = list(islice(fires_between(rule, begin - _MICROSECOND, min(end, now)), MOST + 1))
    if len(fires) > MOST:
        raise InvalidRequest([{"where": "body.to", "message": f"more than {MOST:,} fires: backfill a shorter time"}])
    return fires


def _bound(key: str, text: str, rule: Rule, *, is_end: bool = False) -> datetime:
    """The instant that is meant. A day is meant with all its fires. Raises InvalidRequest."""
    try:
        zone = in_zone(rule, datetime(2000, 1, 1, tzinfo=UTC)).tzinfo
        if len(text) == len("2026-11-30"):
            day = date.fromisoformat(text)
            begin = datetime(day.year, day.month, day.day, tzinfo=zone)
            return ((begin + _DAY) if is_end else begin).astimezone(UTC) - (_MICROSECOND if is_end else timedelta())
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = "isn't a day such as 2026-11-30, or an instant such as 2026-11-30T07:00:00"
        raise InvalidRequest([{"where": f"body.{key}", "message": message}]) from None
