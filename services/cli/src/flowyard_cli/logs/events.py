"""A run's events as log lines, without prompts, replies and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from flowyard.api.history import EventView
from flowyard_cli.logs.line import LogLine

NAME: Final = "events"
"""Shown in place of the name of a process."""
_CONTENT: Final = frozenset({"outputs", "messages", "reply", "error", "text"})


def line_of(event: EventView, run_id: UUID) -> LogLine:
    data: Mapping[str, Any] = event.data
    at = event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fact = {"ts": at, "level": _level(event.type, data), "event": event.type, "service": NAME}
    fields = {name: value for name, value in data.items() if name not in _CONTENT}
    error = data.get("error")
    failure = {"code": error.get("code"), "error": error.get("message")} if isinstance(error, dict) else {}
    ids = {"run_id": str(run_id), "trace_id": run_id.hex, "seq": event.seq}
    return LogLine(NAME, event.at, "", {**fact, **fields, **failure, **ids})


def _level(kind: str, data: Mapping[str, Any]) -> str:
    match kind:
        case "run.failed":
            return "ERROR"
        case "step.failed":
            return "ERROR" if data.get("handled") == "fail" else "WARNING"
        case "step.retrying" | "model.waiting":
            return "WARNING"
        case _:
            return "WARNING" if data.get("error") else "INFO"
