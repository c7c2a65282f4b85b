"""The keys with which a node names tools, and says what they may do."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from pydantic import Discriminator, Field, Tag, WithJsonSchema

from flowyard.language.reading.keys import LONG, SHORT, Names, Shape, form_of
from flowyard.language.reading.mcp_servers import MOST_HEADERS
from flowyard.language.tools import NAME

MOST_TOOLS: Final = 64
"""Of one node. Models choose badly among many."""
API_NAME: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"
_API: Final = "openapi"
TOOL_NAME: Final = f"^{NAME}([.][*])?$"


class ToolPermissionShape(Shape):
    """What a tool may do in this node."""

    allow: Names | None = Field(
        None, description="Patterns, in which * stands for any characters; '*' alone allows everything."
    )
    deny: Names | None = Field(None, description="Patterns that no call may match.")


class ApiShape(Shape):
    """Operations of an HTTP API that is described by OpenAPI."""

    openapi: str = Field(min_length=1, max_length=2_000, description="Address of the description, OpenAPI 3.0 or 3.1.")
    operations: list[str] = Field(
        min_length=1, max_length=MOST_TOOLS, description="Ids of the operations that the model may call."
    )
    name: str | None = Field(
        None, pattern=API_NAME, description="First part of the tools' names; after the host if left out."
    )
    server: str | None = Field(
        None, min_length=1, max_length=2_000, description="Where the API is, if not where the description says."
    )
    headers: dict[str, str] | None = Field(
        None, max_length=MOST_HEADERS, description="Sent with each request; secrets as ${env:NAME}."
    )
    allow: Names | None = Field(None, description="Patterns of the addresses that may be requested; '*': all.")
    deny: Names | None = Field(None, description="Patterns of the addresses that may not.")


def _form(value: Any) -> str:
    return _API if isinstance(value, dict | ApiShape) and "openapi" in dict(value) else form_of(value)


ToolForm: TypeAlias = Annotated[
    Annotated[str, Tag(SHORT), WithJsonSchema({"type": "string", "pattern": TOOL_NAME})]
    | Annotated[dict[str, ToolPermissionShape], Field(min_length=1, max_length=1), Tag(LONG)]
    | Annotated[ApiShape, Tag(_API)],
    Discriminator(_form),
]
