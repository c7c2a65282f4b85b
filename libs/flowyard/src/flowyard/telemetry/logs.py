"""JSON logs on standard error, a fact a line: `logger.info("run claimed", extra={"run_id": …})`. Never a prompt."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final

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
# taskName says `Task-17`; color_message is uvicorn's second copy of its message.
_LEFT_OUT: Final = (*RESERVED_ATTRS, "taskName", "color_message")
# Libraries whose INFO is a line for each request, or says again what we say.
_QUIET: Final = ("httpcore", "httpx", "uvicorn")

_SECRETS: Final = (
    # The id of a key stays: it tells which one, and opens nothing.
    (re.compile(r"\bfy_([A-Za-z0-9]{1,32})_[A-Za-z0-9]+"), r"fy_\1_***"),
    (re.compile(r"(://[^/\s:@\"]*:)[^\s\"@/][^\s\"]*@"), r"\1***@"),
    (re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=*-]{6,}", re.IGNORECASE), r"\1\2***"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{12,}"), "sk-***"),
    (
        re.compile(
            r'"([\w-]*(?:password|secret|token|api[_-]?key|authorization|cookie))": "(?:[^"\\]|\\.)*"', re.IGNORECASE
        ),
        r'"\1": "***"',
    ),
)


def setup_logs(service: str, level: str) -> None:
    """All logging of the process goes to standard error as JSON lines; `level`: debug, info, warning or error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(capture=True)


class JsonLines(JsonFormatter):
    """`ts, level, logger, event, service`, then the fields of `extra`, then `exception`."""

    def __init__(self, service: str) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields=_NAMES,
            static_fields={"service": service},
            reserved_attrs=_LEFT_OUT,
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def redact(line: str) -> str:
    """The line without what looks like a secret: a second line of defence, the first is not to log one."""
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line
