"""The keys with which a document names servers of MCP."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from pydantic import Field

from flowyard.language.mcp_servers import MOST_SERVERS, NAME
from flowyard.language.reading.keys import OLD_KEY, Names, Seconds, Shape

MOST_HEADERS: Final = 50


class McpServerShape(Shape):
    """A server of MCP whose tools nodes may name."""

    url: str | None = Field(None, min_length=1, max_length=2_000, description="Its address, of Streamable HTTP.")
    headers: dict[str, str] | None = Field(
        None, max_length=MOST_HEADERS, description="Sent with each request; secrets as ${env:NAME}."
    )
    timeout: Seconds | None = Field(None, description="Time that one call may take; 30 seconds if left out.")
    allow: Names | None = Field(None, description="Patterns of the tools that nodes may name; all if left out.")
    command: Any = Field(None, json_schema_extra=OLD_KEY)


McpServersShape: TypeAlias = Annotated[
    dict[str, McpServerShape], Field(max_length=MOST_SERVERS, json_schema_extra={"propertyNames": {"pattern": NAME}})
]
"""By name."""
