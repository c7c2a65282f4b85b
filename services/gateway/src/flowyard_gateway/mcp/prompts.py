"""Prompt nodes as prompts of MCP: a client fills in what their templates name, and gets the messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as mcp
from mcp.shared.exceptions import MCPError

from flowyard.access import Caller
from flowyard.errors.steps import EvaluationError
from flowyard.language.inputs import conform_field, input_from_text
from flowyard.language.nodes import PromptNode
from flowyard.language.problems import did_you_mean
from flowyard.language.values.types import Choice, core, describe
from flowyard.language.workflow import Field
from flowyard.steps.prompt import build_messages
from flowyard_gateway.mcp.tools import WorkflowTool, workflow_tools
from flowyard_gateway.parts import GatewayParts

_MOST_CHOICES: Final = 100
"""What the protocol allows."""


@dataclass(frozen=True, slots=True)
class NodePrompt:
    """A prompt node of a workflow."""

    tool: WorkflowTool
    node: PromptNode

    @property
    def name(self) -> str:
        is_only = len(self.tool.source.prompts) == 1
        return self.tool.name if is_only else f"{self.tool.name}.{self.node.id}"

    @property
    def fields(self) -> list[Field]:
        """What its templates name, as the document orders them."""
        return [each for each in self.tool.workflow.fields.values() if each.name in self.node.names_read]

    def described(self) -> mcp.Prompt:
        arguments = [
            mcp.PromptArgument(
                name=each.name, description=each.description or describe(each.type), required=not each.has_default
            )
            for each in self.fields
        ]
        description = self.node.description or f"The prompt '{self.node.id}' of the workflow {self.tool.name}."
        return mcp.Prompt(name=self.name, title=self.node.name, description=description, arguments=arguments)

    def messages(self, given: Mapping[str, str]) -> list[mcp.PromptMessage]:
        """Raises MCPError for arguments that are missing, unknown, or of another type."""
        problems: list[str] = []
        values = {each.name: each.default for each in self.fields if each.has_default}
        fields = {each.name: each for each in self.fields}
        for name, text in given.items():
            if (field := fields.get(name)) is not None:
                values[name] = conform_field(field, input_from_text(field.type, text), problems)
            else:
                problems.append(f"{name[:80]}: isn't known" + _hint(name, fields))
        problems += [f"{name}: missing" for name in fields if name not in values]
        if problems:
            raise MCPError(mcp.INVALID_PARAMS, "; ".join(problems[:20]))
        try:
            messages = build_messages(self.node, values)
        except EvaluationError as error:
            raise MCPError(mcp.INVALID_PARAMS, error.message) from error
        # There is no role for what the system says.
        return [
            mcp.PromptMessage(
                role="assistant" if each.role == "assistant" else "user", content=mcp.TextContent(text=each.text)
            )
            for each in messages
        ]


async def node_prompts(parts: GatewayParts, caller: Caller) -> dict[str, NodePrompt]:
    """By their names."""
    prompts = {}
    for tool in await workflow_tools(parts, caller):
        for node_id in tool.source.prompts:
            node = tool.workflow.nodes[node_id]
            if isinstance(node, PromptNode):
                prompt = NodePrompt(tool, node)
                prompts[prompt.name] = prompt
    return prompts


async def complete_argument(
    parts: GatewayParts, caller: Caller, prompt: str, argument: mcp.CompletionArgument
) -> mcp.CompleteResult:
    """The choices of an argument that begin with what is there of it."""
    of_name = (await node_prompts(parts, caller)).get(prompt)
    field = next((each for each in of_name.fields if each.name == argument.name), None) if of_name is not None else None
    kind = core(field.type) if field is not None else None
    choices = kind.values if isinstance(kind, Choice) else ()
    values = [each for each in choices if each.startswith(argument.value)]
    return mcp.CompleteResult(completion=mcp.Completion(values=values[:_MOST_CHOICES], total=len(values)))


async def get_prompt(parts: GatewayParts, caller: Caller, name: str, given: Mapping[str, Any]) -> mcp.GetPromptResult:
    """Raises MCPError."""
    prompts = await node_prompts(parts, caller)
    if (prompt := prompts.get(name)) is None:
        raise MCPError(mcp.INVALID_PARAMS, f"unknown prompt '{name[:80]}'" + _hint(name, prompts))
    return mcp.GetPromptResult(description=prompt.node.description, messages=prompt.messages(given))


def _hint(name: str, known: Mapping[str, Any]) -> str:
    return f" ({hint})" if (hint := did_you_mean(name, known)) else ""
