"""Reads a node, by the reader for its kind."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from flowyard.language.building.assert_nodes import read_assert_node
from flowyard.language.building.code_nodes import read_code_node
from flowyard.language.building.node_context import NodeContext
from flowyard.language.building.prompt_nodes import read_prompt_node
from flowyard.language.building.set_nodes import read_set_node
from flowyard.language.building.tool_nodes import read_tool_node
from flowyard.language.nodes import KINDS, Kind, Node
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import NodeShape

_OWN_KEYS: Final[dict[Kind, tuple[str, ...]]] = {
    "code": ("code", "inputs", "outputs", "output_schema", "sandbox"),
    "prompt": (
        "prompt", "system", "history", "inputs", "outputs", "output_schema", "examples", "llm", "log_prompts",
        "tools", "max_tool_rounds", "on_tool_error",
    ),
    "set": ("set",),
    "assert": ("assert", "message"),
    "tool": ("tool", "with", "outputs"),
}  # fmt: skip
"""The keys that only nodes of this kind have."""
_OF_PROMPTS_ONLY: Final = ("prompt", "system", "examples", "llm", "log_prompts")
"""Documents of other tools have a prompt in each node."""


def read_node(context: NodeContext, shape: NodeShape, path: KeyPath) -> Node:
    """The node at `path`. Its problems are reported to the context's document."""
    context.check_id(shape.id, path)
    context.check_map_target(shape, path)
    match _kind(context, shape, path):
        case "code":
            return read_code_node(context, shape, path)
        case "prompt":
            return read_prompt_node(context, shape, path)
        case "set":
            return read_set_node(context, shape, path)
        case "assert":
            return read_assert_node(context, shape, path)
        case "tool":
            return read_tool_node(context, shape, path)


def _warn_about_prompt(context: NodeContext, keys: Collection[str], path: KeyPath) -> None:
    for key in _OF_PROMPTS_ONLY:
        if key in keys:
            context.document.warn("old-key", (*path, key), f"'{key}' has no effect in a node with 'code': remove it")


def _kind(context: NodeContext, shape: NodeShape, path: KeyPath) -> Kind:
    """The kind of the node; keys of other kinds are reported."""
    keys = {f.alias or name for name, f in NodeShape.model_fields.items() if name in shape.model_fields_set}
    if "code" in keys and "prompt" in keys:
        _warn_about_prompt(context, keys, path)
        keys -= set(_OF_PROMPTS_ONLY)
    kinds = [kind for kind in KINDS if kind in keys] or ["prompt"]
    kind = kinds[0]
    for other in kinds[1:]:
        message = f"node '{shape.id}' has two kinds of work: '{kind}' and '{other}'"
        context.document.error("two-kinds", (*path, other), message, "split it into two nodes", key=True)
    foreign = {key for other in KINDS if other not in kinds for key in _OWN_KEYS[other]} - set(_OWN_KEYS[kind])
    for key in sorted(keys & foreign):
        message = f"'{key}' has no meaning in a node with '{kind}'"
        hint = "'set' names the fields itself: remove it" if kind == "set" and key == "outputs" else "remove it"
        context.document.error("wrong-kind", (*path, key), message, hint, key=True)
    return kind
