"""What the run of a fire may know of it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, assert_never

from flowyard.schedules.fires import latest_fires
from flowyard.schedules.rules import Cron, Every, Rule, utc
from flowyard.schedules.zones import zone

_LONGEST_GAP: Final = timedelta(days=366 * 50)
"""A rule that has a date at all has one in this time."""
_MICROSECOND: Final = timedelta(microseconds=1)


def fire_facts(
    rule: Rule, at: datetime, *, number: int, backfill: bool = False, previous: datetime | None = None
) -> dict[str, Any]:
    """Texts of the trigger name them as `fire.at` and so on.

    `at`, `previous`: this fire's instant and that of the rule's fire before it, in UTC, whether or not that has started
    a run: the work of fires that process the time since the one before joins without gaps. `local`, `date`: in the
    rule's time zone. `number`: how many fires of the schedule were recorded, with this one. An argument `previous`
    saves the time to find it.
    """
    local = in_zone(rule, at)
    return {
        "at": _text(at),
        "previous": _text(previous or previous_fire(rule, at)),
        "local": local.isoformat(),
        "date": local.date().isoformat(),
        "number": number,
        "backfill": backfill,
    }


def in_zone(rule: Rule, at: datetime) -> datetime:
    """The instant in the rule's time zone."""
    match rule:
        case Cron(timezone=name):
            return utc(at).astimezone(zone(name) or UTC)
        case Every():
            return utc(at)
    assert_never(rule)


def previous_fire(rule: Rule, at: datetime) -> datetime:
    """The latest fire before `at`. Of a rule that never fired in 50 years: `at` itself."""
    if isinstance(rule, Every):
        return at - rule.period
    fires = latest_fires(rule, at - _LONGEST_GAP, at - _MICROSECOND, 1)
    return fires[-1] if fires else at


def _text(at: datetime) -> str:
    """As values of the type datetime are stored."""
    return utc(at).isoformat()
