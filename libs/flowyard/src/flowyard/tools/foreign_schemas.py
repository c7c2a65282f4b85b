"""Schemas that others have written, of which only a part is used to check arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})


def shallow(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What can be checked of arguments without the danger of the server's schema, which may take hours: their names and
    their types. The server checks them itself.
    """
    given = schema.get("properties")
    properties = {
        name: {"type": kinds} if (kinds := _kinds(inner)) else {}
        for name, inner in (given.items() if isinstance(given, dict) else ())
    }
    required = schema.get("required")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    checked: dict[str, Any] = {"type": "object", "properties": properties, "required": names}
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        checked["additionalProperties"] = False
    return checked


def _kinds(schema: Any) -> list[str]:
    kinds = schema.get("type") if isinstance(schema, dict) else None
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return list(kinds) if all(isinstance(kind, str) and kind in _TYPES for kind in kinds) else []
