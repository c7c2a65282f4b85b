"""Converts a type to the JSON Schema that a model's reply must fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, assert_never

from flowyard.language.values.limits import whole
from flowyard.language.values.types import (
    ANY,
    STR,
    Choice,
    DictOf,
    Limited,
    ListOf,
    Nullable,
    ObjectOf,
    Simple,
    Type,
    core,
)


def json_schema(kind: Type, description: str | None = None) -> dict[str, Any]:
    """The JSON Schema, with closed objects whose fields are all required, as providers' strict modes demand."""
    schema = _schema(kind)
    return {**schema, "description": description} if description else schema


def _schema(kind: Type) -> dict[str, Any]:
    match kind:
        case Simple("any"):
            return {}
        case Simple("date" | "datetime" as name):
            return {"type": "string", "format": "date" if name == "date" else "date-time"}
        case Simple("message"):
            return object_schema({"role": (Choice(("system", "user", "assistant")), None), "content": (STR, None)})
        case Simple(name):
            return {"type": {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}[name]}
        case Choice(values):
            return {"type": "string", "enum": list(values)}
        case Limited():
            return _limits(kind) | _schema(kind.inner)
        case ListOf(element):
            return {"type": "array", "items": _schema(element)}
        case DictOf(value):
            return {"type": "object", "additionalProperties": True if value == ANY else _schema(value)}
        case ObjectOf(None):
            return {"type": "object", "additionalProperties": True}
        case ObjectOf(fields):
            return object_schema({n: (f.type, f.description) for n, f in (fields or {}).items()})
        case Nullable(inner):
            return {"anyOf": [_schema(inner), {"type": "null"}]}
        case _:
            assert_never(kind)


def _limits(kind: Limited) -> dict[str, Any]:
    least, most = ("minItems", "maxItems") if isinstance(core(kind.inner), ListOf) else ("minimum", "maximum")
    pattern = whole(kind.pattern) if kind.pattern is not None else None
    limits = {least: kind.least, most: kind.most, "pattern": pattern}
    return {name: limit for name, limit in limits.items() if limit is not None}


def property_names(schema: Any) -> Iterator[str]:
    """The names of all properties in a JSON Schema, at any depth."""
    match schema:
        case dict():
            properties = schema.get("properties")
            # In a schema of a caller's, it may be anything.
            yield from properties if isinstance(properties, dict) else ()
            for inner in schema.values():
                yield from property_names(inner)
        case list():
            for inner in schema:
                yield from property_names(inner)
        case _:
            pass


def object_schema(fields: Mapping[str, tuple[Type, str | None]]) -> dict[str, Any]:
    """The JSON Schema of an object. `fields`: the type and the description of each."""
    return {
        "type": "object",
        "properties": {name: json_schema(kind, description) for name, (kind, description) in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }
