"""What a rule means, in words. Pure."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, assert_never

from cronsim import CronSim

from flowyard.schedules.rules import ANY_TIME, Cron, Every, Rule

_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_ORDINAL: Final = re.compile(r"\b(\d*)([123])th\b")
_ENDINGS: Final = {"1": "st", "2": "nd", "3": "rd"}


def explain(rule: Rule) -> str:
    """Such as "At 07:00 on Monday through Friday (Europe/Berlin)"."""
    match rule:
        case Cron(expression, timezone):
            words = _ORDINAL.sub(_ordinal, CronSim(expression, ANY_TIME).explain())
            # "and" stands where one of the two fields of days has to fit. Where both have to, cronsim writes "if it's".
            return f"{words.replace(' and on ', ' or on ')} ({timezone})"
        case Every(period):
            return f"Every {_duration(period)}"
    assert_never(rule)


def _ordinal(match: re.Match[str]) -> str:
    """`21th` → `21st`, but `11th`."""
    tens, last = match.groups()
    return match[0] if tens.endswith("1") else f"{tens}{last}{_ENDINGS[last]}"


def _duration(period: timedelta) -> str:
    rest, parts = int(period.total_seconds()), []
    for unit, seconds in _UNITS:
        number, rest = divmod(rest, seconds)
        if number:
            parts.append(f"{number} {unit}{'' if number == 1 else 's'}")
    if len(parts) == 1:
        return parts[0].removeprefix("1 ")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
