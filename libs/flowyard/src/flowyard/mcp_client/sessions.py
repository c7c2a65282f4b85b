"""Connections to one server: opened when they are needed, and again when they are lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import httpx2
import mcp_types as mcp
from mcp import Client, MCPError
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from pydantic import ValidationError

from flowyard.language.mcp_servers import LocalServer, McpServer, RemoteServer
from flowyard.mcp_client.http import FAULTS, GuardedTransport
from flowyard.mcp_client.limits import MOST_MESSAGE, MOST_PAGES, MOST_PROGRESS, MOST_TOOLS
from flowyard.mcp_client.listed import ListedTool, listed
from flowyard.mcp_client.results import result_value
from flowyard.mcp_client.stdio import environment, stdio_transport
from flowyard.outbound.client import OutboundClient
from flowyard.tasks import cancel
from flowyard.tools.tool import OnProgress, ToolFailed

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_LIVED_S: Final = 60.0
"""A program that has run for so long is started again at once."""
_FRESH_S: Final = 60.0
"""How long a list is kept of a server that doesn't say how long."""
_FRESHEST_S: Final = 1.0
"""However short a server wants its list to be kept: a step asks several times."""
_OLDEST_S: Final = 3600.0
_END_S: Final = 10.0
_LONGEST: Final = 1_000
"""Characters of what a server says is wrong."""


@dataclass(eq=False)
class _Session:
    """`ended`: why it can't be used any more. `is_unknown`: whether the server has forgotten it."""

    client: Client
    transport: GuardedTransport | None
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    ended: str | None = None

    @property
    def is_unknown(self) -> bool:
        return self.transport is not None and self.transport.is_unknown

    def end(self, why: str) -> None:
        self.ended = self.ended or why or "the connection was closed"
        self.closing.set()


class ServerSessions:
    """Of one server. `values`: headers or variables, in which references have been replaced."""

    def __init__(
        self, server: McpServer, values: Mapping[str, str], environ: Mapping[str, str], http: OutboundClient | None
    ) -> None:
        self._server = server
        self._values = values
        self._environ = environ
        self._http = http
        self._opening = asyncio.Lock()
        self._ready: asyncio.Future[_Session] | None = None
        self._session: _Session | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._pause_s, self._not_before = _FIRST_PAUSE_S, 0.0
        self._why_paused = ""
        self._tools: tuple[ListedTool, ...] = ()
        self._tools_until = 0.0
        self._listing = asyncio.Lock()
        self.calls = 0
        """How many go on."""
        self.used_at = asyncio.get_running_loop().time()

    async def aclose(self) -> None:
        if self._session is not None:
            self._session.end("it was closed")
        if self._keeper is not None:
            if self._ready is None:
                # It ends by itself: a program has some seconds for it.
                await asyncio.wait([self._keeper], timeout=_END_S)
            await cancel([self._keeper])

    async def tools(self) -> tuple[ListedTool, ...]:
        """Raises ToolFailed."""
        async with self._listing:
            if asyncio.get_running_loop().time() >= self._tools_until:
                self._tools = await self._request(self._list)
            return self._tools

    async def call(self, tool: str, arguments: Mapping[str, Any], on_progress: OnProgress) -> Any:
        """Raises ToolFailed."""

        async def call(session: _Session) -> mcp.CallToolResult:
            seen = 0

            async def notice(progress: float, total: float | None, message: str | None) -> None:
                nonlocal seen
                seen += 1
                if seen > MOST_PROGRESS:
                    session.end(f"it sends more than {MOST_PROGRESS:,} notifications of progress in one call")
                else:
                    on_progress(progress, total, message)

            return await session.client.call_tool(tool, dict(arguments), progress_callback=notice)

        return result_value(await self._request(call))

    async def _request(self, ask: Callable[[_Session], Awaitable[Any]]) -> Any:
        """What the server answers. A session that it has forgotten is replaced by a new one: nothing was done in it."""
        self.calls += 1
        try:
            session = await self._connected()
            try:
                return await self._answer(session, ask)
            except ToolFailed:
                if not session.is_unknown:
                    raise
            session.end("the server has forgotten the session")
            return await self._answer(await self._connected(), ask)
        finally:
            self.calls -= 1
            self.used_at = asyncio.get_running_loop().time()

    async def _answer(self, session: _Session, ask: Callable[[_Session], Awaitable[Any]]) -> Any:
        faults: list[str] = []
        FAULTS.set(faults)
        asking = asyncio.ensure_future(ask(session))
        closing = asyncio.create_task(session.closing.wait())
        try:
            await asyncio.wait([asking, closing], return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            raise ToolFailed(f"{self._named} was lost while it was called, and may have done it: {session.ended}")
        except MCPError as error:
            raise ToolFailed(self._why(error, [*faults, *([session.ended] if session.ended else [])])) from error
        except (ValidationError, RuntimeError, OSError, httpx2.HTTPError) as error:
            raise ToolFailed(f"{self._named}: its answer can't be read: {_short(error)}") from error
        finally:
            await cancel([asking, closing])

    def _why(self, error: MCPError, faults: Sequence[str]) -> str:
        is_vague = error.code in (mcp.CONNECTION_CLOSED, mcp.INTERNAL_ERROR, mcp.PARSE_ERROR)
        text = faults[-1] if is_vague and faults else str(error) or f"error {error.code}"
        return f"{self._named}: {text[:_LONGEST]}"

    @property
    def _named(self) -> str:
        return f"the server '{self._server.name}'"

    async def _connected(self) -> _Session:
        """Raises ToolFailed."""
        async with self._opening:
            if self._session is not None and self._session.ended is None:
                return self._session
            now = asyncio.get_running_loop().time()
            if now < self._not_before:
                wait = self._not_before - now
                raise ToolFailed(f"{self._named}: {self._why_paused}; it is started again in {wait:.0f} s")
            if self._ready is None:
                self._ready = asyncio.get_running_loop().create_future()
                self._keeper = asyncio.create_task(self._keep(self._ready, self._keeper))
            try:
                # Who gives up has begun what the next one waits for: it doesn't begin again.
                self._session = await asyncio.shield(self._ready)
            finally:
                self._ready = None if self._ready.done() else self._ready
            return self._session

    async def _keep(self, ready: asyncio.Future[_Session], before: asyncio.Task[None] | None) -> None:
        """One session from its beginning to its end: what the library opens must be closed by the same task."""
        if before is not None:
            # Never two programs at a time.
            await asyncio.wait([before])
        loop = asyncio.get_running_loop()
        began, session = loop.time(), None
        try:
            async with self._open() as session:
                ready.set_result(session)
                await session.closing.wait()
            why = session.ended or ""
        except asyncio.CancelledError:
            ready.cancel()
            if session is not None:
                session.end("it was closed")
            raise
        except BaseException as error:  # noqa: BLE001  # the library ends with whatever its tasks have raised
            why = _short(_innermost(error))
            if session is not None:
                session.end(why)
        self._pause(why, loop.time() - began)
        if not ready.done():
            ready.set_exception(ToolFailed(f"{self._named} can't be reached: {why}"))

    def _pause(self, why: str, lived_s: float) -> None:
        """Between starts of a program that doesn't live long."""
        if not isinstance(self._server, LocalServer) or lived_s > _LIVED_S:
            self._pause_s = _FIRST_PAUSE_S
            return
        self._not_before = asyncio.get_running_loop().time() + self._pause_s - _FIRST_PAUSE_S
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self._why_paused = why

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[_Session]:
        server, opened = self._server, list[_Session]()
        faults: list[str] = []
        FAULTS.set(faults)

        def on_end(why: str) -> None:
            faults.append(why)
            for session in opened:
                session.end(why)

        async def on_message(message: IncomingMessage) -> None:
            if isinstance(message, mcp.ToolListChangedNotification):
                self._tools_until = 0.0

        async with AsyncExitStack() as stack:
            transport = None
            if isinstance(server, RemoteServer):
                if self._http is None:
                    raise ToolFailed("no requests can be sent from here")
                transport = GuardedTransport(self._http, server, self._values)
                http = await stack.enter_async_context(httpx2.AsyncClient(transport=transport, timeout=None))
                streams = streamable_http_client(server.url, http_client=http, max_sse_event_size=MOST_MESSAGE)
            else:
                streams = stdio_transport(server, environment(server, self._environ, self._values), on_end)
            client = Client(
                streams, cache=None, message_handler=on_message, read_timeout_seconds=server.timeout,
                client_info=mcp.Implementation(name="flowyard", version=version("flowyard")),
            )  # fmt: skip
            try:
                async with asyncio.timeout(server.timeout):
                    await stack.enter_async_context(client)
            except TimeoutError as error:
                raise ToolFailed(f"it didn't answer within {server.timeout:g} s") from error
            except (MCPError, BaseExceptionGroup) as error:
                raise ToolFailed(faults[-1] if faults else _short(_innermost(error))) from error
            # The library checks results by the server's own schemas, in the event loop: some take hours.
            client.session.validate_tool_result = _unchecked  # type: ignore[method-assign]
            session = _Session(client, transport)
            opened.append(session)
            yield session

    async def _list(self, session: _Session) -> tuple[ListedTool, ...]:
        tools: list[mcp.Tool] = []
        fresh_s, cursor = _OLDEST_S, None
        for _ in range(MOST_PAGES):
            page = await session.client.list_tools(cursor=cursor)
            tools += page.tools
            given = page.ttl_ms if "ttl_ms" in page.model_fields_set else None
            fresh_s = min(fresh_s, given / 1000 if given is not None else _FRESH_S)
            cursor = page.next_cursor
            if cursor is None or len(tools) >= MOST_TOOLS:
                break
        self._tools_until = asyncio.get_running_loop().time() + max(fresh_s, _FRESHEST_S)
        if cursor is not None or len(tools) > MOST_TOOLS:
            log.warning("a server of MCP has too many tools: the rest is left out", extra={"server": self._server.name})
        return await asyncio.to_thread(listed, self._server, tools[:MOST_TOOLS])


async def _unchecked(name: str, result: mcp.CallToolResult) -> None:
    del name, result


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _short(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return f"it isn't as the protocol says ({error.error_count()} faults)"
    text = str(error) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
