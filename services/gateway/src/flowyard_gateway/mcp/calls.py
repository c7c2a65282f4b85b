"""Calls of tools: each starts a run, and waits for its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

import anyio
import mcp_types as mcp
from mcp.shared.exceptions import MCPError

from flowyard.access import Actor, Caller
from flowyard.control.cancel import cancel_run
from flowyard.control.listener import RunListener
from flowyard.control.submit import Submission, new_run_id, submit_run
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import Forbidden, IllegalMove, UnknownRun
from flowyard.language.problems import did_you_mean
from flowyard.runs.events import Failure
from flowyard.runs.run import Entry, Run
from flowyard.telemetry.logs import bind_run
from flowyard_gateway.answers import as_json
from flowyard_gateway.mcp.tools import GET_RUN, LONGEST_WAIT_S, START_RUN, WorkflowTool, text_of, workflow_tools
from flowyard_gateway.parts import GatewayParts
from flowyard_gateway.submitting import ended, wait_for

OnProgress: TypeAlias = Callable[[int, str], Awaitable[None]]
"""How many steps have begun, and what the last one is."""
_RUN_META: Final = "flowyard/run_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class McpCall:
    """`on_progress`: None: the client doesn't want to know. `cancels`: who closes the connection has given up."""

    name: str
    arguments: dict[str, Any]
    caller: Caller
    by: Actor
    on_progress: OnProgress | None = None
    cancels: bool = False


async def call_tool(parts: GatewayParts, call: McpCall) -> mcp.CallToolResult:
    """What is wrong with the arguments, or with the run, is a result for the model. Raises MCPError, Forbidden."""
    if not call.caller.may("run"):
        raise Forbidden(scope="run", key_name=call.caller.name)
    tools = {tool.name: tool for tool in await workflow_tools(parts, call.caller)}
    try:
        if (tool := tools.get(call.name)) is not None:
            return await _run_workflow(parts, tool, call)
        if call.name == START_RUN and tools:
            return await _start_run(parts, tools, call)
        if call.name == GET_RUN and tools:
            return await _get_run(parts, call)
    except FlowyardError as error:
        return _failed(error.message)
    hint = did_you_mean(call.name, [*tools, START_RUN, GET_RUN])
    raise MCPError(mcp.INVALID_PARAMS, f"unknown tool '{call.name[:80]}'" + (f"; {hint}" if hint else ""))


async def _run_workflow(parts: GatewayParts, tool: WorkflowTool, call: McpCall) -> mcp.CallToolResult:
    submission = Submission(workflow=tool.name, inputs=call.arguments, by=call.by)
    # It listens before the run exists, so that nothing has to be read again.
    with parts.live.listen(new_run_id(), after=0, only_end=call.on_progress is None) as listener:
        run_id, _ = await submit_run(parts.control, submission, run_id=listener.run_id)
        bind_run(run_id)
        try:
            run = await _ended(parts, tool, call, listener)
        except asyncio.CancelledError:
            if call.cancels and not parts.shutting_down.is_set():
                with anyio.CancelScope(shield=True), suppress(IllegalMove, UnknownRun):
                    await cancel_run(parts.control, run_id, by=call.by)
            raise
    return await _result(parts, run)


async def _ended(parts: GatewayParts, tool: WorkflowTool, call: McpCall, listener: RunListener) -> Run:
    """The run when it has ended, or as it is when the client has waited long enough."""
    wait_s = parts.settings.wait_max_s
    if call.on_progress is None:
        return await ended(parts, listener, wait_s)
    begun = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s), aclosing(parts.live.follow(listener)) as items:
            async for item in items:
                if isinstance(item, Entry) and item.type == "step.started":
                    begun += 1
                    node = tool.workflow.nodes.get(item.data["node"])
                    await call.on_progress(begun, (node.name if node is not None else None) or item.data["node"])
    return await parts.control.runs.get(listener.run_id)


async def _start_run(parts: GatewayParts, tools: dict[str, WorkflowTool], call: McpCall) -> mcp.CallToolResult:
    name, inputs = call.arguments.get("workflow"), call.arguments.get("inputs", {})
    if not isinstance(name, str) or name not in tools:
        return _failed(f"workflow: one of {', '.join(tools)}")
    if not isinstance(inputs, dict):
        return _failed("inputs: an object with the inputs by their names")
    submission = Submission(workflow=name, inputs=inputs, by=call.by)
    run_id, _ = await submit_run(parts.control, submission, run_id=new_run_id())
    bind_run(run_id)
    return _succeeded({"run_id": str(run_id), "status": "queued"})


async def _get_run(parts: GatewayParts, call: McpCall) -> mcp.CallToolResult:
    wait_s = call.arguments.get("wait", 0)
    if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not 0 <= wait_s <= LONGEST_WAIT_S:
        return _failed(f"wait: seconds, from 0 to {LONGEST_WAIT_S}")
    try:
        run_id = UUID(str(call.arguments.get("run_id")))
    except ValueError:
        return _failed("run_id: the id that start_run has answered with")
    await check_reach(parts, call.caller, run_id)
    run = await (wait_for(parts, run_id, wait_s) if wait_s else parts.control.runs.get(run_id))
    state: dict[str, Any] = {"run_id": str(run.id), "workflow": run.workflow, "status": run.status}
    if not run.is_open:
        state["outputs"] = await outputs_of(parts, run)
    if run.error is not None:
        state["error"] = _text_of(run.error, run)
    return _succeeded(state, run)


async def check_reach(parts: GatewayParts, caller: Caller, run_id: UUID) -> None:
    """Raises UnknownRun, also for a run that the caller's key isn't for."""
    if caller.workflows is not None and await parts.control.runs.workflow_of(run_id) not in caller.workflows:
        raise UnknownRun(str(run_id))


async def _result(parts: GatewayParts, run: Run) -> mcp.CallToolResult:
    if run.is_open:
        return _failed(f"run {run.id} goes on: its result will be in get_run", run)
    if run.status == "succeeded":
        return _succeeded(await outputs_of(parts, run), run)
    return _failed(_text_of(run.error, run) if run.error is not None else f"run {run.id} was cancelled", run)


async def outputs_of(parts: GatewayParts, run: Run) -> dict[str, Any]:
    """All outputs, also the large ones."""
    outputs = dict(run.outputs or {})
    for name in run.large_outputs:
        value = await parts.control.runs.large_outputs.value(run.id, name, None)
        outputs[name] = await asyncio.to_thread(json.loads, value)
    return outputs


def _text_of(error: Failure, run: Run) -> str:
    where = f" at '{error.node}'" if error.node is not None else ""
    return f"run {run.id} has failed{where}: {error.message} ({error.code})"


def _succeeded(outputs: dict[str, Any], run: Run | None = None) -> mcp.CallToolResult:
    text = text_of(outputs, as_json(outputs).decode())
    return _call_result(text, run, structured_content=outputs)


def _failed(text: str, run: Run | None = None) -> mcp.CallToolResult:
    return _call_result(text, run, is_error=True)


def _call_result(text: str, run: Run | None, **more: Any) -> mcp.CallToolResult:
    meta = {"_meta": {_RUN_META: str(run.id)}} if run is not None else {}
    return mcp.CallToolResult(content=[mcp.TextContent(text=text)], **meta, **more)
