"""What callers of a chat may hand to the model that answers: the tools that they execute themselves. Pure."""

from __future__ import annotations

from typing import Final

from flowyard.language.nodes import CALLER
from flowyard.language.values.types import ANY, BOOL, STR, Choice, ListOf, ObjectField, ObjectOf, nullable
from flowyard.language.workflow import Field

_TOOL: Final = ObjectOf(
    {
        "type": ObjectField(Choice(("function",)), required=True),
        "function": ObjectField(
            ObjectOf(
                {
                    "name": ObjectField(STR, required=True),
                    "description": ObjectField(nullable(STR)),
                    "parameters": ObjectField(nullable(ObjectOf())),
                    "strict": ObjectField(nullable(BOOL)),
                }
            ),
            required=True,
        ),
    }
)
"""Nothing but functions: others, such as searches, the provider executes itself, and charges for them."""
_OFFER: Final = ObjectOf(
    {
        "tools": ObjectField(nullable(ListOf(_TOOL))),
        "tool_choice": ObjectField(ANY, has_default=True),
        "parallel_tool_calls": ObjectField(nullable(BOOL)),
    }
)

CALLER_FIELD: Final = Field(CALLER, nullable(_OFFER), has_default=True, hidden=True)
"""`tools`, `tool_choice` and `parallel_tool_calls` of a request in OpenAI's chat format."""
