"""Reads the `schedule` of a trigger: when it fires, and which fires start a run."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from flowyard.language.problems import KeyPath
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.reading.triggers import ScheduleShape
from flowyard.language.triggers import Timed
from flowyard.schedules.due import ON_TIME
from flowyard.schedules.rules import InvalidRule, Rule, read_cron, read_every

_WINDOW_S: Final = 86_400.0


def read_schedule(shape: ScheduleShape, document: SourceDocument, path: KeyPath) -> Timed | None:
    """None: it has no rule. Reports what is wrong with it."""
    window_s = _WINDOW_S if shape.window is None else shape.window
    if timedelta(seconds=window_s) < ON_TIME:
        message = f"'window' must be at least {ON_TIME.total_seconds():g} seconds: what starts earlier wasn't missed"
        document.error("out-of-range", (*path, "window"), message)
    rule = _rule(shape, document, path)
    if rule is None:
        return None
    return Timed(rule, shape.jitter or 0.0, shape.overlap, shape.catch_up, window_s)


def _rule(shape: ScheduleShape, document: SourceDocument, path: KeyPath) -> Rule | None:
    if shape.cron is not None and shape.every is not None:
        message = "a schedule has either 'cron' or 'every'"
        document.error("wrong-kind", (*path, "every"), message, "remove one of them", key=True)
        return None
    if shape.timezone is not None and shape.every is not None:
        message = "'timezone' has no meaning with 'every', which counts in UTC"
        document.error("wrong-kind", (*path, "timezone"), message, "it belongs to cron", key=True)
    if shape.every is not None:
        try:
            return read_every(shape.every)
        except InvalidRule as error:
            document.error("bad-schedule", (*path, "every"), str(error), error.hint)
            return None
    if shape.cron is not None:
        return _cron(shape.cron, shape.timezone, document, path)
    if not document.has_removed_key(path):
        message = "a schedule needs 'cron' or 'every'"
        document.error("missing-key", path, message, "add cron: 0 7 * * 1-5, or every: 15m", key=True)
    return None


def _cron(text: str, timezone: str | None, document: SourceDocument, path: KeyPath) -> Rule | None:
    zone = "UTC" if timezone is None else timezone
    try:
        read_cron("@daily", zone)
    except InvalidRule as error:
        document.error("bad-schedule", (*path, "timezone"), str(error), error.hint)
        zone = "UTC"
    try:
        return read_cron(text, zone)
    except InvalidRule as error:
        document.error("bad-schedule", (*path, "cron"), str(error), error.hint)
        return None
