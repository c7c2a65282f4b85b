"""Bounds a JSON Schema for a tiny model, which otherwise fills one string until it has no tokens left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowyard.llm.calls import JsonSchema

MAX_CHARACTERS: Final = 200
MAX_ITEMS: Final = 8


def bounded(schema: JsonSchema) -> dict[str, Any]:
    """The schema with a maximum for each string and list that has none. All that fits it fits the given one, too."""
    return {str(name): _bounded(value) for name, value in schema.items()} | _bounds(schema)


def _bounded(value: Any) -> Any:
    match value:
        case Mapping():
            return bounded(value)
        case list() | tuple():
            return [_bounded(each) for each in value]
        case _:
            return value


def _bounds(schema: JsonSchema) -> dict[str, int]:
    """Bounds a bare `type` only: an enum is finite, and a pattern has its own length."""
    match schema.get("type"):
        case "string" if not schema.keys() & {"enum", "const", "pattern", "format", "maxLength"}:
            return {"maxLength": max(MAX_CHARACTERS, schema.get("minLength", 0))}
        case "array" if "maxItems" not in schema:
            return {"maxItems": max(MAX_ITEMS, schema.get("minItems", 0))}
        case _:
            return {}
