"""The tools of a node, as they are when its step begins: some are known only then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowyard.language.problems import did_you_mean
from flowyard.language.tools import ToolUse, wire_name
from flowyard.tools.tool import Tool, ToolFailed

MOST_TOOLS: Final = 64
"""That a model may choose from."""


@dataclass(frozen=True, slots=True)
class NodeTools:
    """`uses`: one for each tool, in the order of the document. `tools`: by name, those that are there."""

    uses: tuple[ToolUse, ...] = ()
    tools: Mapping[str, Tool] | None = None

    def get(self, name: str) -> Tool | None:
        return (self.tools or {}).get(name)


def node_tools(uses: Sequence[ToolUse], known: Mapping[ToolUse, Iterable[Tool]]) -> NodeTools:
    """`known`: the tools among which each of them is. Raises ToolFailed for what can't be offered."""
    chosen: dict[str, tuple[ToolUse, Tool]] = {}
    # What is named by itself has its own permissions, also if a pattern stands for it.
    for use in sorted(uses, key=lambda use: use.is_pattern):
        tools = list(known[use])
        matching = [tool for tool in tools if use.stands_for(tool.name)]
        if not matching:
            # It was there when the document was checked, or nobody could know.
            near = did_you_mean(use.name, [tool.name for tool in tools])
            raise ToolFailed(f"this executor has no tool '{use.name}'{f' ({near})' if near else ''}")
        for tool in matching:
            _, other = chosen.setdefault(wire_name(tool.name), (replace(use, name=tool.name), tool))
            if other.name != tool.name:
                raise ToolFailed(f"the tools '{other.name}' and '{tool.name}' have the same name for models")
    if len(chosen) > MOST_TOOLS:
        raise ToolFailed(
            f"there are {len(chosen)} tools to choose from, and the limit is {MOST_TOOLS}: name those you need"
        )
    return NodeTools(tuple(use for use, _ in chosen.values()), {tool.name: tool for _, tool in chosen.values()})
