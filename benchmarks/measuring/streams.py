"""A model that streams at the pace of a real one, a bare proxy of it, and clients of both, in OpenAI's chat format."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import uvloop
from aiohttp import web

FIRST_S: Final = 0.1
"""Until the model's first chunk."""
PACE_S: Final = 0.02
"""Between two chunks."""
_IDENTITY: Final = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_DATA: Final = b"data: "
_DONE: Final = b"[DONE]"
_USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 400, "total_tokens": 420}


def words(question: str, chunks: int) -> list[str]:
    """The chunks of the answer to a message. Each message has an answer of its own, so that none can be mixed up."""
    return [f"{question} answer:", *(f" the words of chunk {i}" for i in range(1, chunks))]


class _Connection(asyncio.Protocol):
    """Of the model. The last message has a name, and how many chunks are wanted: `name/chunks`."""

    def __init__(self) -> None:
        self._buffer = b""
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next is not None:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if b"\r\n\r\n" not in self._buffer:
            return
        head, rest = self._buffer.split(b"\r\n\r\n", 1)
        length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
        if len(rest) < length:
            return
        self._buffer = b""
        question = json.loads(rest)["messages"][-1]["content"]
        pieces = [
            _event({"role": "assistant", "content": text}) for text in words(question, int(question.split("/")[1]))
        ]
        pieces[-1] += _event({}, finish_reason="stop") + _last()
        loop = asyncio.get_running_loop()
        self._transport.write(_HEAD)
        self._send(loop, pieces, 0, loop.time() + FIRST_S)

    def _send(self, loop: asyncio.AbstractEventLoop, pieces: Sequence[bytes], index: int, at: float) -> None:
        """Sends this piece at its time, and then those after it."""

        def send() -> None:
            self._transport.write(pieces[index])
            if index + 1 < len(pieces):
                self._send(loop, pieces, index + 1, at + PACE_S)

        self._next = loop.call_at(at, send)


def _event(delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _framed(_DATA + json.dumps({**_IDENTITY, "choices": [choice]}).encode() + b"\n\n")


def _last() -> bytes:
    usage = _DATA + json.dumps({**_IDENTITY, "choices": [], "usage": _USAGE}).encode() + b"\n\n"
    return _framed(usage) + _framed(_DATA + _DONE + b"\n\n") + b"0\r\n\r\n"


def _framed(data: bytes) -> bytes:
    """As a chunk of HTTP's."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def serve_model(port: int) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=1000)
        await server.serve_forever()

    uvloop.run(serve())


def serve_proxy(port: int, model_port: int) -> None:
    """The floor: hands requests and bytes on as they come, and reads nothing of them."""
    where = f"http://127.0.0.1:{model_port}/v1/chat/completions"

    async def serve() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def complete(request: web.Request) -> web.StreamResponse:
                body, headers = await request.read(), {"Content-Type": "application/json"}
                async with session.post(where, data=body, headers=headers) as answer:
                    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                    await response.prepare(request)
                    async for piece in answer.content.iter_any():
                        await response.write(piece)
                    await response.write_eof()
                    return response

            app = web.Application()
            app.router.add_post("/v1/chat/completions", complete)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port, backlog=1000).start()
            await asyncio.Event().wait()

    uvloop.run(serve())


@dataclass(frozen=True)
class Answer:
    """One answer at the client. `first_ms`: from its request to its first text, the model's own time left out."""

    first_ms: float
    events: int
    is_right: bool
    why: str = ""


@dataclass(frozen=True)
class Chat:
    """A server of OpenAI's chat API. `model`: the name that is named in requests."""

    session: aiohttp.ClientSession
    url: str
    model: str
    headers: Mapping[str, str]

    async def turn(self, conversation: str, question: str, chunks: int) -> Answer:
        """What the answer says is read only when it has ended: the client shares the cores."""
        content = f"{question}/{chunks}"
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "metadata": {"thread_id": conversation},
            "stream": True,
        }
        started, first_s, received = time.perf_counter(), None, b""
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers) as answer:
            if answer.status != 200:
                return Answer(0, 0, is_right=False, why=f"{answer.status} {await answer.text()}")
            pieces = []
            async for piece in answer.content.iter_any():
                pieces.append(piece)
                if first_s is None:
                    received += piece
                    if any(_texts(received)):
                        first_s = time.perf_counter() - started
        events = _texts(b"".join(pieces))
        text, wanted = "".join(events), "".join(words(content, chunks))
        is_right = text == wanted and pieces[-1].endswith(_DATA + _DONE + b"\n\n")
        why = "" if is_right else f"{text[-200:]!r} at the end of {len(text)} characters of {len(wanted)}"
        return Answer(((first_s or 0) - FIRST_S) * 1000, len([text for text in events if text]), is_right, why)


def _texts(received: bytes) -> list[str]:
    """Of each event that is complete."""
    complete = [event.removeprefix(_DATA) for event in received.split(b"\n\n")[:-1] if event.startswith(_DATA)]
    chunks = [json.loads(event) for event in complete if event != _DONE]
    return [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ())]
