"""The keys with which a node names tools, and says what they may do."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import Discriminator, Field, Tag, WithJsonSchema

from flowyard.language.reading.keys import LONG, SHORT, Names, Shape, form_of
from flowyard.language.tools import NAME

MOST_TOOLS: Final = 64
"""Of one node. Models choose badly among many."""
TOOL_NAME: Final = f"^{NAME}([.][*])?$"


class ToolPermissionShape(Shape):
    """What a tool may do in this node."""

    allow: Names | None = Field(
        None, description="Patterns, in which * stands for any characters; '*' alone allows everything."
    )
    deny: Names | None = Field(None, description="Patterns that no call may match.")


ToolForm: TypeAlias = Annotated[
    Annotated[str, Tag(SHORT), WithJsonSchema({"type": "string", "pattern": TOOL_NAME})]
    | Annotated[dict[str, ToolPermissionShape], Field(min_length=1, max_length=1), Tag(LONG)],
    Discriminator(form_of),
]
