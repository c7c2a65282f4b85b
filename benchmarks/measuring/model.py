"""A model on loopback that costs next to nothing: it answers with ready bytes, at once or after a delay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

REPLY: Final = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "done"}}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
}


class Model:
    """`url`: of its OpenAI-compatible API. `delay_s`: of each answer, from now on."""

    def __init__(self) -> None:
        self.url = ""
        self.delay_s = 0.0
        self._missing = 0
        self._arrived = asyncio.Event()

    def expect(self, calls: int) -> asyncio.Event:
        """It is set when so many more calls have arrived."""
        self._missing, self._arrived = calls, asyncio.Event()
        return self._arrived

    def count(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._arrived.set()


@asynccontextmanager
async def open_model() -> AsyncIterator[Model]:
    model = Model()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(model), "127.0.0.1", 0)
    model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield model
    finally:
        server.close()


class _Connection(asyncio.Protocol):
    """Answers requests streamed or whole, as they want it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, rest = self._buffer.split(b"\r\n\r\n", 1)
            length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
            if len(rest) < length:
                return
            self._model.count()
            self._answer(STREAMED if b'"stream":true' in rest[:length].replace(b" ", b"") else WHOLE)
            self._buffer = rest[length:]

    def _answer(self, response: bytes) -> None:
        if self._model.delay_s:
            asyncio.get_running_loop().call_later(self._model.delay_s, self._transport.write, response)
        else:
            self._transport.write(response)


def _response(body: bytes, kind: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _events() -> bytes:
    piece = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {
        **piece,
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "done"}, "finish_reason": None}],
    }
    last = {**piece, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {**piece, "choices": [], "usage": REPLY["usage"]}
    return b"".join(f"data: {json.dumps(e)}\n\n".encode() for e in (delta, last, usage)) + b"data: [DONE]\n\n"


WHOLE: Final = _response(json.dumps(REPLY).encode(), "application/json")
STREAMED: Final = _response(_events(), "text/event-stream")
