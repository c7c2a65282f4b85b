"""Passes the messages of MCP between standard streams and the gateway, and answers calls of control tools itself.

The gateway keeps no sessions, so that nothing has to be kept here either, but the revision that a client has agreed on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, Final, TypeAlias

import httpx
from httpx_sse import aconnect_sse
from pydantic import ValidationError

from flowyard.access import INCLUDES, Scope
from flowyard.api.client import Client
from flowyard.api.refusals import refusal, unreachable
from flowyard.errors.base import FlowyardError
from flowyard_cli.mcp.control import CONTROL_TOOLS, ControlTool

Message: TypeAlias = dict[str, Any]
Answer: TypeAlias = Callable[[Message], Awaitable[None]]
SCOPES: Final = "flowyard/scopes"
"""In the `_meta` of the gateway's list of tools: what the key is for."""
_PARSE_ERROR, _INVALID_REQUEST, _INTERNAL = -32700, -32600, -32603
_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The parameter that also has to be in a header."""
_CONNECT_S: Final = 5.0
_ENCODED: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Bridge:
    """`answer` sends a message to the client of MCP. `allowed`: the scopes whose tools it is offered, of its key's."""

    def __init__(self, client: Client, http: httpx.AsyncClient, allowed: Collection[Scope], answer: Answer) -> None:
        self._client = client
        self._http = http
        self._allowed = frozenset(scope for given in allowed for scope in INCLUDES[given])
        self._answer = answer
        self._control = {tool.name: tool for tool in CONTROL_TOOLS if tool.scope in self._allowed}
        self._version: str | None = None
        self._open: dict[str | int, asyncio.Task[None]] = {}

    async def receive(self, line: bytes) -> None:
        """Takes a message of the client. Requests are answered later, in the order in which they are done."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            await self._answer(_error(None, _PARSE_ERROR, f"the line isn't JSON: {error}"))
            return
        if not isinstance(message, dict) or not isinstance(message.get("method", ""), str):
            await self._answer(_error(None, _INVALID_REQUEST, "a line should be one message of JSON-RPC"))
        elif "method" in message and isinstance(message.get("id"), str | int):
            task = asyncio.create_task(self._reply(message))
            self._open[message["id"]] = task
            task.add_done_callback(lambda _: self._open.pop(message["id"], None))
        elif "method" in message:
            await self._notified(message)

    async def finish(self) -> None:
        """Waits for the answers to all requests."""
        while self._open:
            await asyncio.wait(self._open.values())

    async def _notified(self, message: Message) -> None:
        """Giving up a request closes its connection: the gateway knows what that means in the client's revision."""
        if message["method"] == "notifications/cancelled":
            number = _params(message).get("requestId")
            task = self._open.get(number) if isinstance(number, str | int) else None
            if task is not None:
                task.cancel()

    async def _reply(self, message: Message) -> None:
        try:
            name = str(_params(message).get("name"))
            tool = self._control.get(name) if message["method"] == "tools/call" else None
            if tool is not None:
                result = await asyncio.to_thread(_called, self._client, tool, _params(message).get("arguments") or {})
                await self._answer({"jsonrpc": "2.0", "id": message["id"], "result": result | self._ending(message)})
            elif message["method"] == "tools/call" and "run" not in self._allowed:
                await self._answer(_error(message, _INVALID_REQUEST, "this server was started without the scope run"))
            else:
                async for received in self._forwarded(message):
                    await self._answer(self._adapted(message, received))
        except FlowyardError as error:
            await self._answer(_error(message, _INTERNAL, error.message))

    async def _forwarded(self, message: Message) -> AsyncIterator[Message]:
        """What the gateway answers: notifications, and at last the response. Raises FlowyardError."""
        address = str(self._http.base_url).rstrip("/")
        try:
            async with aconnect_sse(
                self._http, "POST", "/mcp", content=_ENCODED.encode(message).encode(), headers=self._headers(message)
            ) as source:
                kind = source.response.headers.get("content-type", "")
                if kind.startswith("text/event-stream"):
                    async for event in source.aiter_sse():
                        if (received := _message_in(event.data)) is not None:
                            yield received
                    return
                body = await source.response.aread()
                yield _message_in(body) or _refused(address, source.response, message)
        except httpx.TransportError as error:
            raise unreachable(address, error) from error

    def _headers(self, message: Message) -> Mapping[str, str]:
        version = _meta(message).get(_VERSION) or self._version
        headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        if not isinstance(version, str):
            return headers
        headers |= {"mcp-protocol-version": version, "mcp-method": message["method"]}
        name = _params(message).get(_NAMED.get(message["method"], ""))
        return headers | ({"mcp-name": name} if isinstance(name, str) and name.isascii() else {})

    def _ending(self, message: Message) -> Message:
        """What newer revisions have in each result."""
        return {"resultType": "complete"} if _VERSION in _meta(message) else {}

    def _adapted(self, request: Message, received: Message) -> Message:
        """What this server has to say besides what the gateway says."""
        if "error" in received and received.get("id") is None:
            # The gateway couldn't read the request well enough to know whose answer this is.
            return {**received, "id": request["id"]}
        result = received.get("result")
        if received.get("id") != request["id"] or not isinstance(result, dict):
            return received
        if request["method"] == "initialize":
            self._version = result.get("protocolVersion")
        elif request["method"] == "tools/list":
            result["tools"] = self._tools(result)
        return received

    def _tools(self, result: Mapping[str, Any]) -> list[Any]:
        given = (result.get("_meta") or {}).get(SCOPES, [])
        may = {scope for each in given if each in INCLUDES for scope in INCLUDES[each]} & self._allowed
        # A workflow with the name of one of our own is run by run_workflow.
        workflows = [tool for tool in result.get("tools", []) if "run" in may and tool.get("name") not in self._control]
        own = [tool.described for tool in self._control.values() if tool.scope in may]
        return [*workflows, *own] if not result.get("nextCursor") else workflows


def _called(client: Client, tool: ControlTool, arguments: Any) -> Message:
    """The result of a call: what is wrong is a result, too, for the model to read."""
    try:
        value = tool.work(client, tool.arguments.model_validate(arguments))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors()]
        return _content("\n".join(wrong), is_error=True)
    except FlowyardError as error:
        return _content(f"{error.message} [{error.code}]", is_error=True)
    if isinstance(value, str):
        return _content(value)
    return {**_content(json.dumps(value, ensure_ascii=False, indent=1)), "structuredContent": value}


def _content(text: str, *, is_error: bool = False) -> Message:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def _params(message: Message) -> Mapping[str, Any]:
    params = message.get("params")
    return params if isinstance(params, dict) else {}


def _meta(message: Message) -> Mapping[str, Any]:
    meta = _params(message).get("_meta")
    return meta if isinstance(meta, dict) else {}


def _message_in(body: bytes | str) -> Message | None:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and "jsonrpc" in message else None


def _refused(address: str, response: httpx.Response, request: Message) -> Message:
    return _error(request, _INTERNAL, refusal(address, response).message)


def _error(request: Message | None, code: int, text: str) -> Message:
    return {"jsonrpc": "2.0", "id": request["id"] if request else None, "error": {"code": code, "message": text}}
