"""The MCP server behind `/mcp`: which request is answered by which function, for the key that it comes with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final, TypeAlias, TypeVar, cast

import mcp_types as mcp
from fastapi import Request
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from flowyard.access import Caller
from flowyard.errors.base import FlowyardError
from flowyard.web.auth import actor_of
from flowyard_gateway.mcp.calls import McpCall, call_tool
from flowyard_gateway.mcp.prompts import complete_argument, get_prompt, node_prompts
from flowyard_gateway.mcp.resources import TEMPLATES, list_resources, read_resource
from flowyard_gateway.mcp.tools import run_tools, workflow_tools
from flowyard_gateway.parts import GatewayParts

Context: TypeAlias = ServerRequestContext[Any, Request]
T = TypeVar("T")
_SCOPES: Final = "flowyard/scopes"
_FRESH_MS: Final = 5_000
"""How long clients may keep lists, in milliseconds."""
_INSTRUCTIONS: Final = (
    "Each tool runs a workflow and answers with its outputs. Workflows that take long are better started by start_run,"
    " and their results fetched by get_run."
)


class _Handlers:
    """What answers the requests, a method each."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts

    async def tools(self, context: Context, _: Any) -> mcp.ListToolsResult:
        caller = _caller(context)
        tools = await workflow_tools(self._parts, caller) if caller.may("run") else []
        names = {tool.name for tool in tools}
        more = [tool for tool in run_tools(tools) if tool.name not in names]
        # Whoever adds tools of its own, as `flowyard mcp` does, has to know what the key is for.
        meta = {_SCOPES: sorted(caller.scopes)}
        return mcp.ListToolsResult(tools=[*(tool.described() for tool in tools), *more], _meta=meta)

    async def call(self, context: Context, params: mcp.CallToolRequestParams) -> mcp.CallToolResult:
        async def on_progress(steps: int, name: str) -> None:
            await context.session.report_progress(steps, message=name)

        wants_progress = context.meta is not None and context.meta.get("progress_token") is not None
        call = McpCall(
            name=params.name,
            arguments=params.arguments or {},
            caller=_caller(context),
            by=actor_of(_request(context)),
            on_progress=on_progress if wants_progress else None,
            cancels=context.protocol_version in MODERN_PROTOCOL_VERSIONS,
        )
        return await call_tool(self._parts, call)

    async def resources(self, context: Context, params: mcp.PaginatedRequestParams | None) -> mcp.ListResourcesResult:
        return await list_resources(self._parts, _caller(context), params.cursor if params is not None else None)

    async def templates(self, _: Context, __: Any) -> mcp.ListResourceTemplatesResult:
        return mcp.ListResourceTemplatesResult(resource_templates=TEMPLATES)

    async def resource(self, context: Context, params: mcp.ReadResourceRequestParams) -> mcp.ReadResourceResult:
        return await read_resource(self._parts, _caller(context), str(params.uri))

    async def prompts(self, context: Context, _: Any) -> mcp.ListPromptsResult:
        prompts = await node_prompts(self._parts, _caller(context))
        return mcp.ListPromptsResult(prompts=[each.described() for each in prompts.values()])

    async def prompt(self, context: Context, params: mcp.GetPromptRequestParams) -> mcp.GetPromptResult:
        return await get_prompt(self._parts, _caller(context), params.name, params.arguments or {})

    async def completion(self, context: Context, params: mcp.CompleteRequestParams) -> mcp.CompleteResult:
        prompt = params.ref.name if isinstance(params.ref, mcp.PromptReference) else ""
        return await complete_argument(self._parts, _caller(context), prompt, params.argument)


def mcp_server(parts: GatewayParts) -> Server[Any]:
    handlers, hint = _Handlers(parts), CacheHint(ttl_ms=_FRESH_MS)
    return Server(
        "flowyard",
        version=version("flowyard"),
        title="Flowyard",
        instructions=_INSTRUCTIONS,
        cache_hints={
            "tools/list": hint,
            "resources/list": hint,
            "resources/templates/list": hint,
            "prompts/list": hint,
        },
        on_list_tools=_with_errors(handlers.tools),
        on_call_tool=_with_errors(handlers.call),
        on_list_resources=_with_errors(handlers.resources),
        on_list_resource_templates=handlers.templates,
        on_read_resource=_with_errors(handlers.resource),
        on_list_prompts=_with_errors(handlers.prompts),
        on_get_prompt=_with_errors(handlers.prompt),
        on_completion=_with_errors(handlers.completion),
    )


def _with_errors(handle: Callable[[Context, Any], Awaitable[T]]) -> Callable[[Context, Any], Awaitable[T]]:
    """What is wrong with a request is said to the client, by the code of our errors, too."""

    async def handled(context: Context, params: Any) -> T:
        try:
            return await handle(context, params)
        except FlowyardError as error:
            raise MCPError(mcp.INVALID_REQUEST, error.message, {"code": error.code}) from error

    return handled


def _caller(context: Context) -> Caller:
    caller: Caller = _request(context).scope["state"]["caller"]
    return caller


def _request(context: Context) -> Request:
    """The HTTP request that has the message: over HTTP there always is one."""
    return cast("Request", context.request)


class McpEndpoint:
    """Answers the requests of `/mcp`, each by itself: any gateway can answer the next one."""

    def __init__(self, parts: GatewayParts) -> None:
        self._sessions = StreamableHTTPSessionManager(
            mcp_server(parts), stateless=True, max_request_body_size=parts.settings.body_limit
        )
        self.handle = self._sessions.handle_request

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self._sessions.run():
            yield
