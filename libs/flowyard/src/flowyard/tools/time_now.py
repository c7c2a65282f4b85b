"""`time.now`: the date and the time in a time zone, which models don't know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.problems import did_you_mean
from flowyard.language.tools import ToolFacts
from flowyard.schedules.zones import zone, zone_names
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

FACTS: Final = ToolFacts(
    name="time.now",
    description="Tells the current date, time and weekday in a time zone.",
    parameters={
        "type": "object",
        "properties": {
            "zone": {
                "type": "string",
                "maxLength": 64,
                "description": "Name of an IANA time zone, such as Europe/Paris; UTC if left out.",
            }
        },
        "additionalProperties": False,
    },
)


async def _run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
    name = arguments.get("zone", "UTC")
    where = zone(name)
    if where is None:
        near = did_you_mean(name, zone_names())
        raise ToolFailed(f"no time zone '{name}'{f' ({near})' if near else ''}")
    now = context.now.astimezone(where).replace(microsecond=0)
    return {
        "iso": now.isoformat(),
        "date": f"{now:%Y-%m-%d}",
        "time": f"{now:%H:%M:%S}",
        "weekday": f"{now:%A}",
        "zone": name,
        "unix": int(now.timestamp()),
    }


TIME_NOW: Final = Tool(FACTS, _run)
