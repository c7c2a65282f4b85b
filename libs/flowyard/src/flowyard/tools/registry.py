"""All tools by name. A new one is a file of its own, and a line here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flowyard.language.tools import ToolFacts
from flowyard.tools.json_query import JSON_QUERY
from flowyard.tools.math_eval import MATH_EVAL
from flowyard.tools.services import NO_SERVICES, ToolServices
from flowyard.tools.template_render import TEMPLATE_RENDER
from flowyard.tools.text_regex import TEXT_REGEX
from flowyard.tools.text_split import TEXT_SPLIT
from flowyard.tools.time_now import TIME_NOW
from flowyard.tools.tool import Tool


def built_in(services: ToolServices = NO_SERVICES) -> tuple[Tool, ...]:
    """The tools that need nothing, and those that are made from what an installation gives them."""
    del services
    return (JSON_QUERY, MATH_EVAL, TEMPLATE_RENDER, TEXT_REGEX, TEXT_SPLIT, TIME_NOW)


class ToolRegistry:
    """The tools of one process; without `tools`, the built-in ones.

    Raises ValueError for two that have the same name, or that a model can't tell apart.
    """

    def __init__(self, tools: Iterable[Tool] | None = None) -> None:
        self._tools: dict[str, Tool] = {}
        taken: dict[str, str] = {}
        for tool in built_in() if tools is None else tools:
            other = taken.setdefault(tool.facts.wire_name, tool.name)
            if tool.name in self._tools or other != tool.name:
                raise ValueError(f"the tools '{other}' and '{tool.name}' have the same name for models")
            self._tools[tool.name] = tool

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    @property
    def facts(self) -> Mapping[str, ToolFacts]:
        """What documents are checked against."""
        return {tool.name: tool.facts for tool in self}
