"""How a command that failed is reported: lines on standard error, or one JSON object."""

from __future__ import annotations

import os
import tempfile
import traceback
from typing import Any

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs
from flowyard_cli import exits
from flowyard_embedded.streams import UnwritableOutput, print_json, say


def report(error: BaseException, *, as_json: bool) -> int:
    """Returns the exit code that belongs to the error."""
    lines: tuple[str, ...]
    data: dict[str, Any] = {}
    match error:
        case UnwritableOutput():
            exit_code, lines = exits.NOT_WRITTEN, (error.message,)
        case KeyboardInterrupt():
            exit_code, lines, data = exits.CANCELLED, ("cancelled",), {"status": "cancelled"}
        case FlowyardError():
            lines = error.problems if isinstance(error, InvalidInputs) else (error.message,)
            exit_code, data = exits.WRONG_INPUT, _as_data("invalid", error.code, error.message)
        case _:
            where = _save("".join(traceback.format_exception(error)))
            lines = (
                f"internal error: {type(error).__name__}: {error}",
                f"this is a bug; please send us the report: {where}",
            )
            exit_code, data = exits.INTERNAL, _as_data("failed", "internal_error", "; ".join(lines))
    if as_json and data:
        print_json(data)
    else:
        for line in lines:
            say(f"flowyard: {line}")
    return exit_code


def _as_data(status: str, code: str, message: str) -> dict[str, Any]:
    return {"status": status, "error": {"code": code, "message": message}}


def _save(text: str) -> str:
    try:
        number, path = tempfile.mkstemp(prefix="flowyard-error-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError as error:
        return f"lost, because it can't be saved: {error.strerror}"
    return f"in {path}"
