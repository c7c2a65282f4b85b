"""Tools as a server lists them, made harmless: bounded, without control characters, with names that can be written."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flowyard.language.mcp_servers import McpServer, effects_of
from flowyard.language.tools import ToolFacts, wire_name
from flowyard.mcp_client.limits import MOST_DEPTH, MOST_DESCRIPTION, MOST_SCHEMA
from flowyard.tools.foreign_schemas import shallow

if TYPE_CHECKING:
    import mcp_types as mcp

log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:[.][A-Za-z0-9_-]+)*")
_LONGEST_NAME: Final = 64
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
"""Also what changes the direction of a text, or isn't seen."""


@dataclass(frozen=True, slots=True)
class ListedTool:
    """`name`: as the server has it. `checked`: the schema that arguments are checked against here."""

    name: str
    facts: ToolFacts
    checked: Mapping[str, Any]


def listed(server: McpServer, tools: Sequence[mcp.Tool]) -> tuple[ListedTool, ...]:
    """Those that can be offered, by name. What is wrong with the others is logged. Not for an event loop."""
    kept: dict[str, ListedTool] = {}
    for tool in sorted(tools, key=lambda tool: tool.name):
        if not server.offers(tool.name):
            continue
        name = f"{server.name}.{tool.name}"
        fault = _fault(name, tool)
        if fault is None and wire_name(name) in kept:
            fault = "models can't tell it from another one"
        if fault is not None:
            shown = {"server": server.name, "tool": clean(tool.name)[:100], "fault": fault}
            log.warning("a tool of an MCP server is left out", extra=shown)
            continue
        hints = tool.annotations
        facts = ToolFacts(
            name=name,
            description=clean(tool.description or tool.title or tool.name)[:MOST_DESCRIPTION],
            parameters=tool.input_schema,
            effects=effects_of(server, read_only=hints is not None and hints.read_only_hint is True),
        )
        kept[wire_name(name)] = ListedTool(tool.name, facts, shallow(tool.input_schema))
    return tuple(kept.values())


def clean(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


def _fault(name: str, tool: mcp.Tool) -> str | None:
    """Why it can't be offered, or None."""
    if len(name) > _LONGEST_NAME:
        return f"with its server's, its name has more than {_LONGEST_NAME} characters, which no model takes"
    if not _NAME.fullmatch(tool.name):
        return "its name has characters that can't be written in a document"
    schema = tool.input_schema
    if schema.get("type", "object") != "object":
        return "its arguments are no object"
    if _depth(schema) > MOST_DEPTH:
        return f"the schema of its arguments is nested deeper than {MOST_DEPTH} levels"
    if len(json.dumps(schema)) > MOST_SCHEMA:
        return f"the schema of its arguments has more than {MOST_SCHEMA:,} characters"
    if any(not reference.startswith("#") for reference in _references(schema)):
        return "the schema of its arguments refers to another document"
    return None


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MOST_DEPTH:
        depth += 1
        level = [inner for each in level for inner in _inside(each)]
    return depth


def _references(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict) and isinstance(reference := each.get("$ref"), str):
            yield reference
        waiting += _inside(each)


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []
