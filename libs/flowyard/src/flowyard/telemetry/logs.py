"""JSON logs on standard error, a fact per line: `logger.info("run claimed", extra={"run_id": …})`. Never prompts.

Lines of a task that is bound to a run have the run's id, also those of libraries: see `bind_run`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from math import inf
from typing import Any, Final
from uuid import UUID

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

_NAMES: Final = {
    "asctime": "ts",
    "levelname": "level",
    "name": "logger",
    "message": "event",
    "exc_info": "exception",
    "stack_info": "stack",
}
# taskName is only `Task-17`; color_message is a second copy of uvicorn's message.
_OMITTED: Final = (*RESERVED_ATTRS, "taskName", "color_message")
# Libraries that log a line per request at INFO, or repeat our own lines.
_VERBOSE_LIBRARIES: Final = ("httpcore", "httpx", "uvicorn")

_SECRETS: Final = (
    # First substrings of the lower-case line: only if it has one of them, the slow pattern is applied.
    # The id of an API key stays in the line: it identifies the key, and isn't secret.
    (("fy_",), re.compile(r"\bfy_([A-Za-z0-9]{1,32})_[A-Za-z0-9]+"), r"fy_\1_***"),
    (("://",), re.compile(r"(://[^/\s:@\"]*:)[^\s\"@/][^\s\"]*@"), r"\1***@"),
    (("bearer", "basic"), re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=*-]{6,}", re.IGNORECASE), r"\1\2***"),
    (("sk-",), re.compile(r"\bsk-[A-Za-z0-9_-]{12,}"), "sk-***"),
    (
        ("password", "secret", "token", "key", "authorization", "cookie"),
        re.compile(
            r'"([\w-]*(?:password|secret|token|api[_-]?key|authorization|cookie))": "(?:[^"\\]|\\.)*"', re.IGNORECASE
        ),
        r'"\1": "***"',
    ),
)

_MOST_WARNINGS: Final = 1000
_STANDARD: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}

_run: ContextVar[UUID | None] = ContextVar("run", default=None)


def bind_run(run_id: UUID) -> None:
    """Adds the run's id to all later log lines of this task, and of tasks that it starts."""
    _run.set(run_id)


@contextmanager
def run_context(run_id: UUID | None) -> Iterator[None]:
    """Adds the run's id to the log lines of a block. None: they have no run's id."""
    token = _run.set(run_id)
    try:
        yield
    finally:
        _run.reset(token)


def trace_id_of(run_id: object) -> str | None:
    """The id of a run's trace: the run's id without dashes, as OpenTelemetry writes it. None: not a run's id."""
    try:
        return (run_id if isinstance(run_id, UUID) else UUID(str(run_id))).hex
    except ValueError:
        return None


def setup_logs(service: str, level: str) -> None:
    """Sends all logs of the process to standard error as JSON lines. `level`: debug, info, warning or error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    handler.addFilter(Repetitions())
    root = logging.getLogger()
    root.handlers = [handler]
    # `debug` applies to our own loggers only: libraries log the headers and bodies of requests at that level.
    root.setLevel(max(logging.getLevelName(level.upper()), logging.INFO))
    for name in ("flowyard", f"flowyard_{service}"):
        logging.getLogger(name).setLevel(level.upper())
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(capture=True)


class Repetitions(logging.Filter):
    """Lets the same warning through once in `quiet_s` seconds, with how often it was `repeated` before.

    The same: of the same logger, with the same text and fields. Errors with a traceback always pass.
    """

    def __init__(self, *, quiet_s: float = 30.0) -> None:
        super().__init__()
        self._quiet_s = quiet_s
        self._passed: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        key = f"{record.name} {record.levelno} {record.getMessage()} {_run.get()} {fields}"
        at, repeated = self._passed.pop(key, (-inf, 0))
        if record.created - at < self._quiet_s:
            self._passed[key] = at, repeated + 1
            return False
        self._passed[key] = record.created, 0
        if len(self._passed) > _MOST_WARNINGS:
            self._passed.popitem(last=False)
        if repeated:
            record.repeated = repeated
        return True


class JsonLines(JsonFormatter):
    """`ts, level, logger, event, service`, then the fields of `extra`, then `exception`."""

    def __init__(self, service: str) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields=_NAMES,
            static_fields={"service": service},
            reserved_attrs=_OMITTED,
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        run_id = log_data.get("run_id") or _run.get()
        if run_id is not None:
            log_data["run_id"] = str(run_id)
            if (trace_id := trace_id_of(run_id)) is not None:
                log_data["trace_id"] = trace_id


def redact(line: str) -> str:
    """The line with everything masked that looks like a secret. The first defence is not to log secrets at all."""
    lower = line.lower()
    for hints, pattern, replacement in _SECRETS:
        if any(hint in lower for hint in hints):
            line = pattern.sub(replacement, line)
    return line
