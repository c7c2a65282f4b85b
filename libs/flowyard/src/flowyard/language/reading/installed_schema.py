"""The JSON Schema of documents with the names that an installation knows, for editors that complete them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flowyard.language.installation import Installation
from flowyard.language.reading.document import document_schema
from flowyard.language.reading.tools import TOOL_NAME, ToolPermissionShape

_PERMISSION = f"#/$defs/{ToolPermissionShape.__name__}"


def installation_schema(installation: Installation, models: Collection[str]) -> dict[str, Any]:
    """`models`: as a document names them, without their providers.

    Other names fit, too: a document may have tools of its own, and a provider models that nobody has listed.
    """
    rules = installation.tool_rules
    tools = sorted(name for name in installation.tools or {} if rules.answer(name) != "deny")
    schema: dict[str, Any] = _with_tools(document_schema(), tools)
    if models:
        for shape in schema["$defs"].values():
            if (model := shape.get("properties", {}).get("model")) is not None:
                model["anyOf"] = [{"enum": sorted(models)}, *model["anyOf"]]
    return schema


def _with_tools(schema: Any, tools: Collection[str]) -> Any:
    match schema:
        case {"type": "string", "pattern": pattern} if pattern == TOOL_NAME:
            return {"anyOf": [{"enum": list(tools)}, schema]} if tools else schema
        case {"additionalProperties": {"$ref": reference}} if reference == _PERMISSION:
            return {**schema, "propertyNames": {"anyOf": [{"enum": list(tools)}, {"pattern": TOOL_NAME}]}}
        case dict():
            return {key: _with_tools(value, tools) for key, value in schema.items()}
        case list():
            return [_with_tools(value, tools) for value in schema]
        case _:
            return schema
