"""Time zones: those of the package tzdata, and never of the machine, so that all registries have the same. Pure."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo


@cache
def zone_names() -> tuple[str, ...]:
    return tuple(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


@cache
def _known() -> frozenset[str]:
    return frozenset(zone_names())


def zone(name: str) -> ZoneInfo | None:
    """None: there is no such zone."""
    # What isn't known is not cached, and never becomes a path.
    return _read(name) if name in _known() else None


@cache
def _read(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
