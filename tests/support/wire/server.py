"""A loopback HTTP server that speaks one provider's format and remembers what it was got."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Protocol, assert_never

from aiohttp import web

from support.wire.behaviour import (
    Behaviour,
    CutStream,
    Hang,
    HangUp,
    Held,
    Json,
    Late,
    Malformed,
    Odd,
    Pieces,
    Raw,
    Reply,
    Status,
    Text,
)

LONG_REPLY = Text("one two three four five six seven eight")
"""What is cut or hangs in the middle."""


@dataclass(frozen=True)
class Request:
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class Dialect(Protocol):
    """A provider's format. `words` are the pieces of a streamed reply."""

    base: str
    stream_type: str

    def is_streamed(self, request: Request) -> bool: ...
    def whole(self, request: Request, reply: Reply) -> Any: ...
    def stream(self, request: Request, reply: Reply, words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
        """What comes before the words, one piece per word, what comes after them."""
        ...

    def event(self, value: Any) -> str:
        """One piece of a stream that holds this JSON and nothing else."""
        ...

    def error(self, code: int, message: str) -> Any: ...


@dataclass
class WireServer:
    url: str
    requests: list[Request] = field(default_factory=list)
    requested: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first request has come."""
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client left before its answer was complete."""
    open: int = 0
    busiest: int = 0
    """The most requests that were open at a time."""


Script = Sequence[Behaviour] | Callable[[Request], Behaviour | Awaitable[Behaviour]]


@asynccontextmanager
async def serve(
    dialect: Dialect, replies: Script, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[WireServer]:
    """Serves in the running loop. Of a list, one behaviour per request; the last one answers all further ones."""
    server = WireServer("")

    async def handle(got: web.Request) -> web.StreamResponse:
        request = await _read(got)
        server.requests.append(request)
        server.requested.set()
        server.open += 1
        server.busiest = max(server.busiest, server.open)
        try:
            behaviour = await _choose(replies, request, len(server.requests))
            return await _behave(dialect, got, request, behaviour)
        except (asyncio.CancelledError, ConnectionError):
            server.hung_up.set()
            raise
        finally:
            server.open -= 1

    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        server.url = f"http://{host}:{runner.addresses[0][1]}{dialect.base}"
        yield server
    finally:
        await runner.cleanup()


def word_list(text: str) -> list[str]:
    """`a b c` → `a`, ` b`, ` c`."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


async def _choose(replies: Script, request: Request, number: int) -> Behaviour:
    if not callable(replies):
        return replies[min(number, len(replies)) - 1]
    chosen = replies(request)
    return await chosen if isinstance(chosen, Awaitable) else chosen


async def _read(got: web.Request) -> Request:
    text = await got.text()
    headers = {name.lower(): value for name, value in got.headers.items()}
    return Request(got.path, dict(got.query), headers, json.loads(text) if text else None)


async def _behave(dialect: Dialect, got: web.Request, request: Request, behaviour: Behaviour) -> web.StreamResponse:
    match behaviour:
        case Text() | Json():
            if dialect.is_streamed(request):
                return await _stream(dialect, got, request, behaviour)
            return web.json_response(text=_unescaped(json.dumps(dialect.whole(request, behaviour))))
        case Pieces(pieces):
            return await _stream(dialect, got, request, Text("".join(pieces)), pieces=pieces)
        case Status():
            message = behaviour.message.replace("{key}", sent_key(request))
            body = dialect.error(behaviour.code, message)
            return web.json_response(body, status=behaviour.code, headers=behaviour.headers)
        case Malformed():
            return web.Response(text="not what you think", content_type="application/json")
        case Odd():
            if dialect.is_streamed(request):
                return web.Response(text=dialect.event(behaviour.value), content_type=dialect.stream_type)
            return web.json_response(behaviour.value)
        case Raw():
            headers = {"Content-Encoding": behaviour.encoding} if behaviour.encoding else None
            return web.Response(
                body=behaviour.body, status=behaviour.status, content_type=behaviour.kind, headers=headers
            )
        case Late():
            await asyncio.sleep(behaviour.seconds)
            return await _behave(dialect, got, request, behaviour.reply)
        case Held():
            return await _hold(dialect, got, request, behaviour)
        case CutStream():
            return await _cut(dialect, got, request, behaviour)
        case HangUp():
            _hang_up(got, reset=True)
            return web.Response()
        case Hang():
            if dialect.is_streamed(request) and behaviour.after:
                await _stream(dialect, got, request, LONG_REPLY, words=behaviour.after)
            await asyncio.sleep(3600)
            return web.Response()
        case _:
            assert_never(behaviour)


async def _stream(
    dialect: Dialect,
    got: web.Request,
    request: Request,
    reply: Reply,
    *,
    words: int | None = None,
    pieces: Sequence[str] | None = None,
) -> web.StreamResponse:
    """Streams a reply, word by word or in the given pieces; with `words`, only so many and nothing after."""
    response = web.StreamResponse(headers={"Content-Type": dialect.stream_type})
    await response.prepare(got)
    before, within, after = dialect.stream(request, reply, pieces or word_list(reply.text))
    for piece in [*before, *within, *after] if words is None else [*before, *within[:words]]:
        await response.write(_unescaped(piece).encode())
    if words is None:
        await response.write_eof()
    return response


def _unescaped(encoded: str) -> str:
    """JSON with its characters as they are, as providers send it. Half of a character stays an escape."""
    escapes = re.compile(r"(?<!\\)\\u(00[89a-f][0-9a-f]|0[1-9a-f][0-9a-f]{2}|[1-9abcef][0-9a-f]{3}|d[0-7][0-9a-f]{2})")
    return escapes.sub(lambda escape: chr(int(escape[1], 16)), encoded)


async def _hold(dialect: Dialect, got: web.Request, request: Request, how: Held) -> web.StreamResponse:
    if not (dialect.is_streamed(request) and how.after):
        await how.until.wait()
        return await _behave(dialect, got, request, how.reply)
    response = await _stream(dialect, got, request, how.reply, words=how.after)
    await how.until.wait()
    _, pieces, after = dialect.stream(request, how.reply, word_list(how.reply.text))
    for piece in [*pieces[how.after :], *after]:
        await response.write(piece.encode())
    await response.write_eof()
    return response


async def _cut(dialect: Dialect, got: web.Request, request: Request, how: CutStream) -> web.StreamResponse:
    if dialect.is_streamed(request):
        response = await _stream(dialect, got, request, LONG_REPLY, words=how.after)
        if how.politely:
            await response.write_eof()
            return response
        # What was written must leave before the connection goes.
        await asyncio.sleep(0.02)
    else:
        body = json.dumps(dialect.whole(request, LONG_REPLY)).encode()
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
        await response.prepare(got)
        await response.write(body[: len(body) // 2])
    _hang_up(got)
    return response


def _hang_up(got: web.Request, *, reset: bool = False) -> None:
    if got.transport is None:
        return
    if reset:
        # Lingering for 0 s turns the close into a TCP reset.
        got.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        got.transport.abort()
    else:
        got.transport.close()


def sent_key(request: Request) -> str:
    """The API key of a request, wherever the provider wants it; empty if there is none."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    others = (request.headers.get("x-api-key"), request.headers.get("x-goog-api-key"), request.query.get("key"))
    return bearer or next((key for key in others if key), "")
