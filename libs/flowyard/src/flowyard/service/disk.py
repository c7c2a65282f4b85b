"""How full the disk of Postgres is: measured in a folder on it, and according to Postgres."""

from __future__ import annotations

import shutil
from math import isnan, nan
from typing import Final

from flowyard.errors.services import DiskFull
from flowyard.storage.database import Database
from flowyard.telemetry.metrics import PostgresMetrics
from flowyard.web.health import Check

_FULL: Final = 0.98


def measure_disk(folder: str, metrics: PostgresMetrics) -> None:
    """Sets the gauges at each scrape. `folder`: on the disk of Postgres; empty: none is known."""
    if folder:
        metrics.disk_size.set_function(lambda: _bytes(folder)[0])
        metrics.disk_free.set_function(lambda: _bytes(folder)[1])


def disk_check(database: Database, folder: str) -> Check:
    """Fails if nothing can be stored. Without a folder, only Postgres says when its disk is full."""

    async def check() -> str:
        size, free = _bytes(folder)
        if database.is_full or free < (1 - _FULL) * size:
            raise DiskFull
        return "Postgres can store" if isnan(size) else f"{1 - free / size:.0%} full"

    return Check("disk", check)


def _bytes(folder: str) -> tuple[float, float]:
    """The size of the disk, and what of it is free. NaN: unknown, also if the folder may not be looked at."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return nan, nan
    return float(usage.total), float(usage.free)
