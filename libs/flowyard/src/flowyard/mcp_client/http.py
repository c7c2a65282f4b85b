"""HTTP for the library of MCP, through the client that checks addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Final

import httpx2
import mcp_types as mcp

from flowyard.errors.outbound import OutboundError
from flowyard.language.mcp_servers import RemoteServer
from flowyard.mcp_client.limits import MOST_MESSAGE
from flowyard.outbound.client import OutboundClient
from flowyard.outbound.requests import OutboundHead, OutboundRequest

_SESSION: Final = "mcp-session-id"
_ERROR: Final = 400
_SLICE: Final = 4_096
_UNKNOWN_SESSION: Final = (400, 404)
_OURS: Final = frozenset({
    "accept-encoding", "connection", "content-length", "host", "transfer-encoding", "user-agent",
})  # fmt: skip
"""Headers that the client that sends the request decides on."""
_PASSED_ON: Final = ("content-type", "location", "mcp-session-id", "www-authenticate")
_AFTER_S: Final = 5.0
"""How long a stream stays open after its call has been given up, for servers that go on although it was cancelled."""


FAULTS: Final[ContextVar[list[str]]] = ContextVar("faults")
"""Why requests that belong to the current work had no good answer: the library only says that they had none."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """`is_unknown`: the server doesn't know our session."""

    def __init__(self, client: OutboundClient, server: RemoteServer, headers: Mapping[str, str]) -> None:
        self._client = client
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._seconds = server.timeout
        self.is_unknown = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
        outbound = OutboundRequest(
            method=request.method,
            url=str(request.url),
            headers={**self._headers, **headers},
            body=await request.aread() or None,
            total_s=self._seconds,
            answer_limit=MOST_MESSAGE,
        )
        opened = AsyncExitStack()
        try:
            head, parts = await opened.enter_async_context(self._client.stream(outbound))
        except OutboundError as error:
            _note(str(error))
            return _refusal(request, str(error))
        if head.status >= _ERROR:
            _note(f"it answered {head.status}")
        if head.status in _UNKNOWN_SESSION and _SESSION in request.headers:
            self.is_unknown = True
        return httpx2.Response(
            head.status,
            headers={name: head.headers[name] for name in _PASSED_ON if name in head.headers},
            stream=_Body(parts, opened, self._limit(request, head)),
            request=request,
        )

    def _limit(self, request: httpx2.Request, head: OutboundHead) -> float | None:
        """Seconds that the answer may take. Only the stream that belongs to no request has no end."""
        is_endless = request.method == "GET" and head.headers.get("content-type", "").startswith("text/event-stream")
        return None if is_endless else self._seconds + _AFTER_S


class _Body(httpx2.AsyncByteStream):
    def __init__(self, parts: AsyncGenerator[bytes, None], opened: AsyncExitStack, seconds: float | None) -> None:
        self._parts = parts
        self._opened = opened
        now = asyncio.get_running_loop().time()
        self._until = now + seconds if seconds is not None else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                async with asyncio.timeout_at(self._until):
                    part = await anext(self._parts, b"")
                if not part:
                    return
                # Hundreds of messages may be in one part, and the library reads them without a pause.
                for start in range(0, len(part), _SLICE):
                    yield part[start : start + _SLICE]
                    await asyncio.sleep(0)
        except (OutboundError, TimeoutError) as error:
            fault = str(error) or "its answer took too long"
            _note(fault)
            raise httpx2.StreamError(fault) from error

    async def aclose(self) -> None:
        await self._parts.aclose()
        await self._opened.aclose()


def _note(fault: str) -> None:
    if (faults := FAULTS.get(None)) is not None:
        faults.append(fault)


def _refusal(request: httpx2.Request, fault: str) -> httpx2.Response:
    """As if a server had answered: an exception would end all other calls of the connection, too."""
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": mcp.INTERNAL_ERROR, "message": fault}}
    headers = {"content-type": "application/json"}
    return httpx2.Response(502, headers=headers, content=json.dumps(error).encode(), request=request)
