"""JSON responses that may contain any text of users and models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from fastapi import Response
from pydantic import BaseModel

from flowyard.api.runs import RunView
from flowyard.runs.run import Run
from flowyard.web.slow_readers import PacedResponse


def answer(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return PacedResponse(as_json(model.model_dump()), status, headers, "application/json")


def answer_run(run: Run, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return PacedResponse(as_json(RunView.data_of(run)), status, headers, "application/json")


def as_json(data: Any) -> bytes:
    """JSON in UTF-8; in ASCII if a text contains half a surrogate pair, which UTF-8 can't encode.

    No number may be infinite or NaN: what comes out of Postgres never is.
    """
    try:
        return orjson.dumps(data, _text, orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError:  # half a surrogate pair, a number of more than 64 bits, a deeply nested value
        return json.dumps(data, separators=(",", ":"), default=_text).encode()


def _text(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():  # asyncpg's are of a class of its own
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} isn't JSON")
