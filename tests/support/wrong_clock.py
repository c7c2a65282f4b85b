"""Starts a service whose clock is wrong: `wrong_clock.py SERVICE SECONDS`."""

from __future__ import annotations

import datetime
import sys
import time
from typing import Self

SERVICE = sys.argv.pop(1)
OFF = int(sys.argv.pop(1))
_time, _time_ns = time.time, time.time_ns


class _WrongDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Self:
        return super().now(tz) + datetime.timedelta(seconds=OFF)


time.time = lambda: _time() + OFF
time.time_ns = lambda: _time_ns() + OFF * 1_000_000_000
datetime.datetime = _WrongDatetime  # type: ignore[misc]

from importlib import import_module  # noqa: E402  # after the clock

import_module(f"flowyard_{SERVICE}.main").main()
