"""How a document is sent to the registry's routes."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from fastapi import Query

File: TypeAlias = Annotated[
    str, Query(max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$", description="The name of the document in its problems")
]

_EXAMPLE: Final = """\
flow: {name: haiku}
state:
  fields:
    topic: {type: str, required: true}
    poem: str
nodes:
  - id: write
    prompt: Write a haiku about {topic}.
    outputs: [poem]
"""
_AS_TEXT: Final = {"schema": {"type": "string", "minLength": 1}, "examples": {"haiku": {"value": _EXAMPLE}}}
DOCUMENT: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The document itself, as YAML or JSON. Its JSON Schema is at `/v1/schema`.",
        "content": {
            "application/yaml": _AS_TEXT,
            "text/yaml": _AS_TEXT,
            "text/plain": _AS_TEXT,
            "application/json": {"schema": {}},
        },
    }
}
"""The `openapi_extra=` of a route that takes a document as its body."""
