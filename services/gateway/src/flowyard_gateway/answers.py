"""JSON responses that may contain any text of users and models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel

from flowyard.web.slow_readers import PacedResponse


def answer(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return PacedResponse(as_json(model.model_dump()), status, headers, "application/json")


def as_json(data: Any) -> str:
    """JSON in ASCII: a reply may contain half a surrogate pair, which UTF-8, and so Pydantic's JSON, can't encode."""
    return json.dumps(data, separators=(",", ":"), default=_text)


def _text(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} isn't JSON")
