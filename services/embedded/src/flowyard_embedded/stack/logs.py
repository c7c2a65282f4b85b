"""The log lines of services, rendered for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flowyard_embedded.streams import printable

SUPERVISOR: Final = "flowyard"
"""The name in front of the supervisor's own lines."""
# `trace_id` is the run's id without dashes.
_SHOWN_ELSEWHERE: Final = {"ts", "level", "logger", "event", "service", "exception", "stack", "stacks", "trace_id"}
_RESET: Final = "\x1b[0m"
_NAME_COLOURS: Final = (36, 35, 34, 32, 33, 96, 95, 94)
_LEVEL_COLOURS: Final = {"WARNING": 33, "ERROR": 31, "CRITICAL": 31, "DEBUG": 90}


@dataclass(frozen=True, slots=True)
class LineStyle:
    """`width`: of the column with the names. `dated`: show the day and milliseconds. `hidden`: fields to leave out."""

    width: int
    colours: bool
    dated: bool = False
    hidden: frozenset[str] = frozenset()


def render_line(name: str, line: str, style: LineStyle) -> str:
    """`gateway    12:01:03 INFO  run submitted workflow=haiku`. A line that isn't one of our logs is shown as it is."""
    head = _head(name, style)
    try:
        return f"{head} {_body(json.loads(line), style)}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{head} {printable(line)}"


def render_fact(name: str, fact: Mapping[str, Any], style: LineStyle) -> str:
    """Renders a decoded line as `render_line` does. Raises KeyError, TypeError, ValueError if it isn't one of ours."""
    return f"{_head(name, style)} {_body(fact, style)}"


def supervisor_line(level: str, event: str, fields: Mapping[str, Any], now: datetime) -> str:
    """A log line of the supervisor, in the format of the services."""
    ts = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    start = {"ts": ts, "level": level, "logger": __name__, "event": event, "service": SUPERVISOR}
    return json.dumps({**start, **fields})


def _body(fact: Mapping[str, Any], style: LineStyle) -> str:
    time, level = render_time(datetime.fromisoformat(fact["ts"]), style), fact["level"]
    fields = {name: value for name, value in fact.items() if name not in _SHOWN_ELSEWHERE | style.hidden}
    if "exception" in fact:
        # The whole traceback is in the log file.
        fields["exception"] = str(fact["exception"]).strip().rpartition("\n")[2]
    shown = "".join(f" {_coloured(f'{name}=', 90, style)}{_value(value)}" for name, value in fields.items())
    # Padded to the length of ERROR; WARNING and CRITICAL are rare and may stand out.
    return f"{time} {_coloured(f'{level:<5}', _LEVEL_COLOURS.get(level), style)} {printable(fact['event'])}{shown}"


def render_time(at: datetime, style: LineStyle) -> str:
    """In this machine's time zone."""
    here = at.astimezone()
    return here.strftime("%m-%d %H:%M:%S.%f")[:-3] if style.dated else here.strftime("%H:%M:%S")


def _head(name: str, style: LineStyle) -> str:
    return _coloured(f"{name:<{style.width}}", _NAME_COLOURS[sum(name.encode()) % len(_NAME_COLOURS)], style)


def _value(value: Any) -> str:
    plain = isinstance(value, str) and value and not any(c.isspace() or c in "\"'=" for c in value)
    return printable(value if plain else json.dumps(value, ensure_ascii=False))


def _coloured(text: str, colour: int | None, style: LineStyle) -> str:
    return f"\x1b[{colour}m{text}{_RESET}" if style.colours and colour else text
