"""Large outputs in events and lists: their sizes are there instead, and the values are read apart. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from flowyard.large_json import Encoded, is_light, parts
from flowyard.runs.run import Entry

LARGE: Final = 64 * 1024
"""Bytes of JSON: a larger output isn't in an event."""
MAX_OUTPUTS: Final = 128 * 1024
"""Bytes of JSON: all outputs in an event together."""
SIZES: Final = "large_outputs"
"""The key of an event's data that has the sizes of the outputs that aren't in it."""


def without_large(entry: Entry, *, room: int = MAX_OUTPUTS) -> tuple[Entry, int]:
    """The entry with the sizes of large outputs in their place, and how many bytes the others have: at most `room`."""
    outputs = entry.data.get("outputs")
    if not outputs:
        return entry, 0
    sizes = sizes_of(outputs)
    large = large_of(sizes, room=room)
    left = sum(sizes.values()) - sum(large.values())
    if not large:
        return entry, left
    kept = {name: value for name, value in outputs.items() if name not in large}
    return entry._replace(data={**entry.data, "outputs": kept, SIZES: large}), left


def large_of(sizes: Mapping[str, int], *, room: int = MAX_OUTPUTS) -> dict[str, int]:
    """Those that are large, and as many of the largest others as leave no more than `room` bytes."""
    large: dict[str, int] = {}
    left = sum(sizes.values())
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size <= LARGE and left <= room:
            break
        large[name] = size
        left -= size
    return large


def large_outputs(data: Mapping[str, Any]) -> Mapping[str, int]:
    """By name, the bytes of the outputs that aren't in an event's data."""
    sizes: Mapping[str, int] = data.get(SIZES, {})
    return sizes


def sizes_of(outputs: Mapping[str, Any]) -> dict[str, int]:
    """The bytes of each: see `json_bytes`."""
    if isinstance(outputs, Encoded):
        return {name: len(outputs.texts.get(name, "")) for name in outputs}
    return {name: json_bytes(value) for name, value in outputs.items()}


async def measured(value: Any) -> int:
    """As `json_bytes`, and the event loop isn't held."""
    return json_bytes(value) if is_light(value) else await asyncio.to_thread(json_bytes, value)


def json_bytes(value: Any) -> int:
    """The bytes of a value as JSON in ASCII, as it is stored. 0 for what JSON can't hold: it is refused elsewhere."""
    try:
        return sum(map(len, parts(value)))
    except (TypeError, ValueError, RecursionError):
        return 0
