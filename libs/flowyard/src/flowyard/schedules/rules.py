"""The two kinds of rules of a schedule, and how they are read. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Final, TypeAlias, assert_never

from cronsim import CronSim, CronSimError

from flowyard.schedules.zones import zone, zone_names

_NAMED: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_SYNONYMS: Final = {"@midnight": "@daily", "@annually": "@yearly"}
_FIELDS: Final = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L (the last) or LW (the last weekday)"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT, where 0 and 7 are Sunday, 5L (the last Friday) or 5#2 (the second)"),
)
_ORDER: Final = "minute, hour, day of month, month, day of week"
_MAX_LENGTH: Final = 200
ANY_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - local time, in no zone
_SECOND: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(days=366)
_EVERY: Final = "every "


class InvalidRule(ValueError):
    """A text is no rule of a schedule. `hint`: what would be right."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Cron:
    """`expression`: five fields in capital letters, as `read_cron` makes them. `timezone`: a name of IANA's."""

    expression: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Every:
    """Fires at all multiples of `period` since 1970-01-01 00:00 UTC, so that all who know the rule agree."""

    period: timedelta


Rule: TypeAlias = Cron | Every


def read_cron(text: str, timezone: str = "UTC") -> Cron:
    """Fields of Debian's cron, with `@hourly` and the like. Raises InvalidRule, also for dates that never come."""
    if zone(timezone) is None:
        close = get_close_matches(timezone, zone_names(), n=1, cutoff=0.5)
        raise InvalidRule(f"no time zone '{timezone[:60]}'", f"write {close[0] if close else 'Europe/Berlin'}")
    if len(text) > _MAX_LENGTH:
        raise InvalidRule(f"a cron expression of {len(text):,} characters", f"at most {_MAX_LENGTH} are allowed")
    fields = _fields(text)
    _check(fields)
    return Cron(" ".join(fields), timezone)


def read_every(seconds: float) -> Every:
    """Raises InvalidRule."""
    # Compared first: a huge number is no timedelta.
    if not _SECOND.total_seconds() <= seconds <= _LONGEST.total_seconds():
        raise InvalidRule(f"every {seconds:g} s", f"from 1s to {_LONGEST.days}d")
    if seconds % 1:
        raise InvalidRule(f"every {seconds:g} s", "only whole seconds")
    return Every(timedelta(seconds=seconds))


def rule_text(rule: Rule) -> str:
    """The rule as it is stored: rules are the same if their texts are."""
    match rule:
        case Cron(expression, timezone):
            return f"{expression} {timezone}"
        case Every(period):
            return f"{_EVERY}{period // _SECOND}"
    assert_never(rule)


def rule_of(text: str) -> Rule:
    """The rule that `rule_text` has made this text of."""
    if text.startswith(_EVERY):
        return read_every(int(text.removeprefix(_EVERY)))
    expression, _, timezone = text.rpartition(" ")
    return Cron(expression, timezone)


def _fields(text: str) -> list[str]:
    name = text.strip().lower()
    if name.startswith("@"):
        if name not in _NAMED:
            close = _SYNONYMS.get(name) or next(iter(get_close_matches(name, _NAMED, n=1)), None)
            raise InvalidRule(f"no '{text.strip()}'", f"write {close}" if close else f"one of {', '.join(_NAMED)}")
        return _NAMED[name].split()
    fields = text.upper().split()
    if len(fields) == 6:
        raise InvalidRule("six fields, and a cron expression has five", f"remove the seconds: {' '.join(fields[1:])}")
    if len(fields) != 5:
        number = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
        raise InvalidRule(f"{number}, and a cron expression has five", f"write {_ORDER}: 0 7 * * 1-5")
    return fields


def _check(fields: list[str]) -> None:
    for index, (field, (name, values)) in enumerate(zip(fields, _FIELDS, strict=True)):
        alone = ["*"] * 5
        alone[index] = field
        try:
            CronSim(" ".join(alone), ANY_TIME)
        except CronSimError:
            raise InvalidRule(f"'{field}' can't be the {name}", f"{values}; or *, lists, ranges and steps") from None
    try:
        never = next(CronSim(" ".join(fields), ANY_TIME), None) is None
    except CronSimError:
        never = True
    if never:
        raise InvalidRule(f"no date fits '{' '.join(fields)}'", f"{_ORDER}: no such day in these months")


def utc(instant: datetime) -> datetime:
    """The same instant in UTC. Raises ValueError for a time without a zone."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return instant.astimezone(UTC)
