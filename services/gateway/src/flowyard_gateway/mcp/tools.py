"""The workflows that are tools of MCP, as far as a key may see them, and how they are described to clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as mcp

from flowyard.access import Caller
from flowyard.control.deliver import LiveTrigger
from flowyard.errors.requests import InvalidDocument
from flowyard.language.triggers import Mcp
from flowyard.language.values.json_schema import json_schema
from flowyard.language.values.types import MESSAGE, ListOf, Type, core
from flowyard.language.workflow import Workflow
from flowyard_gateway.parts import GatewayParts

START_RUN: Final = "start_run"
GET_RUN: Final = "get_run"
LONGEST_WAIT_S: Final = 50
"""Of `get_run`: many clients give up a call after a minute."""
_RUN_ID: Final = {"type": "string", "format": "uuid", "description": "The run's id."}
_STATUS: Final = {"type": "string", "description": "queued, running, waiting, succeeded, failed or cancelled."}


@dataclass(frozen=True, slots=True)
class WorkflowTool:
    """A workflow with its mcp trigger."""

    live: LiveTrigger
    source: Mcp

    @property
    def name(self) -> str:
        return self.live.stored.workflow

    @property
    def workflow(self) -> Workflow:
        return self.live.workflow

    def described(self) -> mcp.Tool:
        return mcp.Tool(
            name=self.name,
            title=self.source.title,
            description=self.description,
            input_schema=input_schema(self.workflow),
            output_schema=output_schema(self.workflow),
            annotations=mcp.ToolAnnotations(read_only_hint=self.source.read_only),
        )

    @property
    def description(self) -> str:
        return self.live.trigger.description or self.workflow.description or f"Runs the workflow {self.name}."


async def workflow_tools(parts: GatewayParts, caller: Caller) -> list[WorkflowTool]:
    """Those that the caller's key is for. A document that this version of Flowyard refuses is left out."""
    stored = await parts.triggers.of_kind("mcp")
    tools = []
    for each in stored:
        if each.is_live and (caller.workflows is None or each.workflow in caller.workflows):
            try:
                workflow = await parts.control.documents.get(each.workflow, each.definition, each.digest)
            except InvalidDocument:
                continue
            live = LiveTrigger(each, workflow)
            if isinstance(source := live.trigger.source, Mcp):
                tools.append(WorkflowTool(live, source))
    return tools


def run_tools(tools: Sequence[WorkflowTool]) -> Iterator[mcp.Tool]:
    """Tools for runs that take longer than a client waits; none without a workflow to run."""
    names = [tool.name for tool in tools]
    if not names:
        return
    yield mcp.Tool(
        name=START_RUN,
        title="Start a run",
        description="Starts a workflow and answers at once with the run's id; get its result by get_run.",
        input_schema={
            "type": "object",
            "properties": {
                "workflow": {"type": "string", "enum": names},
                "inputs": {"type": "object", "description": "The arguments of the tool of this name."},
            },
            "required": ["workflow"],
            "additionalProperties": False,
        },
        output_schema={
            "type": "object",
            "properties": {"run_id": _RUN_ID, "status": _STATUS},
            "required": ["run_id", "status"],
        },
    )
    yield mcp.Tool(
        name=GET_RUN,
        title="Get a run",
        description="The status of a run, and its outputs or its error when it has ended.",
        input_schema={
            "type": "object",
            "properties": {
                "run_id": _RUN_ID,
                "wait": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": LONGEST_WAIT_S,
                    "description": "Seconds to wait for the run's end.",
                },
            },
            "required": ["run_id"],
            "additionalProperties": False,
        },
        output_schema={
            "type": "object",
            "properties": {
                "run_id": _RUN_ID,
                "workflow": {"type": "string"},
                "status": _STATUS,
                "outputs": {"type": "object"},
                "error": {"type": "string"},
            },
            "required": ["run_id", "workflow", "status"],
        },
        annotations=mcp.ToolAnnotations(read_only_hint=True),
    )


def input_schema(workflow: Workflow) -> dict[str, Any]:
    inputs = [each for each in workflow.fields.values() if each.is_input and not each.hidden]
    properties = {}
    for each in inputs:
        properties[each.name] = json_schema(each.type, each.description)
        if each.has_default:
            properties[each.name]["default"] = each.default
    return {
        "type": "object",
        "properties": properties,
        "required": [each.name for each in inputs if each.required],
        "additionalProperties": False,
    }


def output_schema(workflow: Workflow) -> dict[str, Any]:
    """What no node of a run has written isn't among its outputs."""
    fields = workflow.fields.values()
    shown = [each for each in fields if each.name in workflow.result or not (workflow.result or each.is_input)]
    properties = {each.name: _of_output(each.type, each.description) for each in shown}
    return {"type": "object", "properties": properties}


def _of_output(kind: Type, description: str | None) -> dict[str, Any]:
    if core(kind) in (MESSAGE, ListOf(MESSAGE)):
        # An answer may have parts and calls of tools, besides its text.
        return {"description": description} if description else {}
    return json_schema(kind, description)


def text_of(outputs: Mapping[str, Any], as_json: str) -> str:
    """What a model reads of the outputs: the text, if they are one, else all of them as JSON."""
    only = next(iter(outputs.values())) if len(outputs) == 1 else None
    return only if isinstance(only, str) else as_json
