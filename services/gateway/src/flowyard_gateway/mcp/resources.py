"""Resources of MCP: the documents of workflows, and runs."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote
from uuid import UUID

import mcp_types as mcp
from mcp.shared.exceptions import MCPError

from flowyard.access import Caller
from flowyard.api.runs import RunView
from flowyard.errors.requests import UnknownRun, UnknownWorkflow
from flowyard.runs.run import Run
from flowyard.storage.run_lists import RunFilter
from flowyard.storage.workflows import Listed, Workflows
from flowyard_gateway.answers import as_json
from flowyard_gateway.mcp.calls import check_reach
from flowyard_gateway.parts import GatewayParts

_SCHEME: Final = "flowyard://"
_URI: Final = re.compile(rf"{_SCHEME}(workflows|runs)/([^/?#]{{1,384}})")
_MOST: Final = 100
"""Of a page. Runs: the newest ones alone."""
_YAML: Final = "application/yaml"
_JSON: Final = "application/json"

TEMPLATES: Final = [
    mcp.ResourceTemplate(
        name="workflow",
        uri_template=f"{_SCHEME}workflows/{{name}}",
        description="The document of a workflow, as it is now.",
        mime_type=_YAML,
    ),
    mcp.ResourceTemplate(
        name="run",
        uri_template=f"{_SCHEME}runs/{{run_id}}",
        description="A run: its status, inputs, outputs, error and cost.",
        mime_type=_JSON,
    ),
]


async def list_resources(parts: GatewayParts, caller: Caller, cursor: str | None) -> mcp.ListResourcesResult:
    """The workflows by their names, a page at a time, and with the last page the newest runs."""
    listed = await Workflows(parts.database).page(after=cursor, limit=_MOST + 1, only=caller.workflows)
    resources = [_of_workflow(each) for each in listed[:_MOST]]
    if len(listed) > _MOST:
        return mcp.ListResourcesResult(resources=resources, next_cursor=listed[_MOST - 1].name)
    runs = await parts.control.runs.page(RunFilter(workflows=caller.workflows), _MOST)
    return mcp.ListResourcesResult(resources=[*resources, *map(_of_run, runs)])


def _of_workflow(listed: Listed) -> mcp.Resource:
    uri = f"{_SCHEME}workflows/{quote(listed.name, safe='')}"
    return mcp.Resource(
        name=listed.name, uri=uri, description=f"The document of the workflow {listed.name}.", mime_type=_YAML
    )


def _of_run(run: Run) -> mcp.Resource:
    return mcp.Resource(
        name=str(run.id),
        title=f"{run.workflow}, {run.status}",
        uri=f"{_SCHEME}runs/{run.id}",
        description=f"A run of {run.workflow}.",
        mime_type=_JSON,
    )


async def read_resource(parts: GatewayParts, caller: Caller, uri: str) -> mcp.ReadResourceResult:
    """Raises MCPError; InvalidDocument."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise _unknown(uri)
    kind, name = match[1], unquote(match[2])
    try:
        text = await (_document(parts, caller, name) if kind == "workflows" else _run(parts, caller, name))
    except (UnknownWorkflow, UnknownRun, ValueError):
        raise _unknown(uri) from None
    mime_type = _YAML if kind == "workflows" else _JSON
    return mcp.ReadResourceResult(contents=[mcp.TextResourceContents(uri=uri, mime_type=mime_type, text=text)])


async def _document(parts: GatewayParts, caller: Caller, name: str) -> str:
    if "\x00" in name or (caller.workflows is not None and name not in caller.workflows):
        raise UnknownWorkflow(name)
    return (await Workflows(parts.database).current(name)).document


async def _run(parts: GatewayParts, caller: Caller, text: str) -> str:
    run_id = UUID(text)
    await check_reach(parts, caller, run_id)
    return as_json(RunView.data_of(await parts.control.runs.get(run_id))).decode()


def _unknown(uri: str) -> MCPError:
    return MCPError(mcp.INVALID_PARAMS, f"no resource '{uri[:200]}'", {"uri": uri[:200]})
