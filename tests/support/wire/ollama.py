"""Ollama's chat, and OpenAI's at `/v1`. https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from support.wire.behaviour import Reply
from support.wire.openai import OpenAIDialect
from support.wire.server import Request, Script, WireServer, serve


class OllamaDialect:
    base = ""
    stream_type = "application/x-ndjson"
    openai = OpenAIDialect()

    def is_streamed(self, request: Request) -> bool:
        if _is_openai(request):
            return self.openai.is_streamed(request)
        # Streaming is what Ollama does unless the request says otherwise.
        return bool(request.body.get("stream", True))

    def whole(self, request: Request, reply: Reply) -> Any:
        if _is_openai(request):
            return self.openai.whole(request, reply)
        return _message(request, reply.text, reply) | _facts(reply)

    def stream(self, request: Request, reply: Reply, words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
        if _is_openai(request):
            return self.openai.stream(request, reply, words)
        pieces = [_line(_message(request, word) | {"done": False}) for word in words]
        if reply.calls:
            pieces.append(_line(_message(request, "", reply) | {"done": False}))
        return [], pieces, [_line(_message(request, "") | _facts(reply))]

    def event(self, value: Any) -> str:
        return _line(value)

    def error(self, code: int, message: str) -> Any:
        return {"error": message}


def ollama_server(
    replies: Script, *, host: str = "127.0.0.1", port: int = 0
) -> AbstractAsyncContextManager[WireServer]:
    """`api_base` is the server's `url`."""
    return serve(OllamaDialect(), replies, host=host, port=port)


def _is_openai(request: Request) -> bool:
    return request.path.startswith("/v1/")


def _message(request: Request, text: str, reply: Reply | None = None) -> dict[str, Any]:
    calls = [{"function": {"name": name, "arguments": given}} for name, given in (reply.calls if reply else ())]
    return {
        "model": request.body["model"],
        "created_at": "2026-01-01T00:00:00.000000Z",
        "message": {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {}),
    }


def _facts(reply: Reply) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": reply.ending,
        "total_duration": 5_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": reply.tokens_in,
        "prompt_eval_duration": 1_000_000,
        "eval_count": reply.tokens_out,
        "eval_duration": 3_000_000,
    }


def _line(value: Any) -> str:
    return f"{json.dumps(value)}\n"
