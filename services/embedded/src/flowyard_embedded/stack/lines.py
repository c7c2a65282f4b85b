"""Log lines of services: JSON as they write them, and as people read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flowyard_embedded.streams import printable

SUPERVISOR: Final = "flowyard"
"""The name under which the supervisor's own lines are shown."""
# The trace's id is the run's, in other letters.
_SHOWN_ELSEWHERE: Final = {"ts", "level", "logger", "event", "service", "exception", "stack", "trace_id"}
_RESET: Final = "\x1b[0m"
_NAME_COLOURS: Final = (36, 35, 34, 32, 33, 96, 95, 94)
_LEVEL_COLOURS: Final = {"WARNING": 33, "ERROR": 31, "CRITICAL": 31, "DEBUG": 90}


@dataclass(frozen=True, slots=True)
class Style:
    """`width`: of the column with the services' names. `dated`: with the day and milliseconds. `hidden`: fields."""

    width: int
    colours: bool
    dated: bool = False
    hidden: frozenset[str] = frozenset()


def readable(name: str, line: str, style: Style) -> str:
    """`gateway    12:01:03 INFO  run submitted  workflow=haiku`; what isn't a log line of ours as it is."""
    head = _head(name, style)
    try:
        return f"{head} {_told(json.loads(line), style)}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{head} {printable(line)}"


def readable_fact(name: str, fact: Mapping[str, Any], style: Style) -> str:
    """As `readable`, of what a line says. Raises KeyError, ValueError for what isn't a line of ours."""
    return f"{_head(name, style)} {_told(fact, style)}"


def written(level: str, event: str, fields: Mapping[str, Any], now: datetime) -> str:
    """A line of the supervisor, as services write theirs."""
    ts = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    start = {"ts": ts, "level": level, "logger": __name__, "event": event, "service": SUPERVISOR}
    return json.dumps({**start, **fields})


def _told(fact: Mapping[str, Any], style: Style) -> str:
    time, level = moment(datetime.fromisoformat(fact["ts"]), style), fact["level"]
    fields = {name: value for name, value in fact.items() if name not in _SHOWN_ELSEWHERE | style.hidden}
    if "exception" in fact:
        # The rest of it is in the log file.
        fields["exception"] = str(fact["exception"]).strip().rpartition("\n")[2]
    shown = "".join(f" {_coloured(f'{name}=', 90, style)}{_value(value)}" for name, value in fields.items())
    # As long as INFO and ERROR, the lines that come in numbers.
    return f"{time} {_coloured(f'{level:<5}', _LEVEL_COLOURS.get(level), style)} {printable(fact['event'])}{shown}"


def moment(at: datetime, style: Style) -> str:
    """On this machine's clock."""
    here = at.astimezone()
    return here.strftime("%m-%d %H:%M:%S.%f")[:-3] if style.dated else here.strftime("%H:%M:%S")


def _head(name: str, style: Style) -> str:
    return _coloured(f"{name:<{style.width}}", _NAME_COLOURS[sum(name.encode()) % len(_NAME_COLOURS)], style)


def _value(value: Any) -> str:
    plain = isinstance(value, str) and value and not any(c.isspace() or c in "\"'=" for c in value)
    return printable(value if plain else json.dumps(value, ensure_ascii=False))


def _coloured(text: str, colour: int | None, style: Style) -> str:
    return f"\x1b[{colour}m{text}{_RESET}" if style.colours and colour else text
