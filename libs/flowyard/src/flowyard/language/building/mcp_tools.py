"""Reads `mcp` of a trigger: the workflow as a tool, and those of its prompt nodes that are prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from flowyard.language.flow import Flow
from flowyard.language.nodes import PromptNode
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.reading.triggers import McpShape, TriggerShape
from flowyard.language.triggers import Mcp
from flowyard.language.workflow import Field

_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""What clients of MCP take as the name of a tool."""


@dataclass(frozen=True, slots=True)
class McpReader:
    """`workflow`: its name. `read_ones`: the names of these triggers so far."""

    document: SourceDocument
    fields: Mapping[str, Field]
    flow: Flow
    workflow: str
    read_ones: list[str] = field(default_factory=list)

    def read(self, name: str, trigger: TriggerShape, shape: McpShape, path: KeyPath) -> Mcp:
        """Reports its problems."""
        for key in ("when", "inputs", "reply"):
            if getattr(trigger, key) is not None:
                message = (
                    f"'{key}' has no meaning here: each call of the tool starts a run, whose inputs are its arguments"
                )
                self.document.error("wrong-kind", (*path, key), message, "remove it", key=True)
        if self.read_ones:
            message = f"the trigger '{self.read_ones[0]}' is of kind mcp, too: a workflow is one tool"
            self.document.error("wrong-kind", (*path, "mcp"), message, "remove one of them", key=True)
        self.read_ones.append(name)
        if not _TOOL_NAME.fullmatch(self.workflow):
            message = "the name of the workflow can't be the name of a tool"
            hint = "clients of MCP want letters, digits, '_', '-' and '.', at most 128: change flow.name"
            self.document.error("bad-name", (*path, "mcp"), message, hint, key=True)
        for index, node in enumerate(shape.prompts or ()):
            self._check_prompt(node, (*path, "mcp", "prompts", index))
        return Mcp(shape.title, tuple(dict.fromkeys(shape.prompts or ())), shape.read_only)

    def _check_prompt(self, node_id: str, path: KeyPath) -> None:
        nodes = {name: node for name, node in self.flow.nodes.items() if isinstance(node, PromptNode)}
        if (node := nodes.get(node_id)) is None:
            if "nodes" not in self.document.incomplete:
                kind = "no node" if node_id not in self.flow.nodes else "no prompt node"
                hint = suggest(node_id, nodes, "prompt nodes")
                self.document.error("unknown-node", path, f"{kind} '{node_id}'", hint)
        elif node.history is not None:
            message = f"'{node_id}' has a conversation before its prompt, which can't be an argument of a prompt"
            self.document.error("wrong-kind", path, message, "remove it from the list")
        elif secrets := sorted(node.names_read & {name for name, each in self.fields.items() if each.secret}):
            message = f"'{node_id}' names the secret '{secrets[0]}': a prompt is shown to whoever asks for it"
            self.document.error("secret-use", path, message, "remove it from the list")
