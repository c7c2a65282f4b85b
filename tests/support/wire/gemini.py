"""Google's Gemini API. https://ai.google.dev/api/generate-content"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from support.wire.behaviour import Reply
from support.wire.server import Request, Script, WireServer, serve

_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}

_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "filtered": "SAFETY"}


class GeminiDialect:
    base = ""
    stream_type = "text/event-stream"

    def is_streamed(self, request: Request) -> bool:
        return request.path.endswith(":streamGenerateContent")

    def whole(self, request: Request, reply: Reply) -> Any:
        return _candidate(reply.text, _FINISH[reply.ending], reply) | _facts(request, reply)

    def stream(self, request: Request, reply: Reply, words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
        assert request.query.get("alt") == "sse"
        *first, last = [_candidate(word) for word in words]
        end = _candidate("", _FINISH[reply.ending], reply) | _facts(request, reply)
        return [], [_event(chunk) for chunk in (*first, last)], [_event(end)]

    def event(self, value: Any) -> str:
        return _event(value)

    def error(self, code: int, message: str) -> Any:
        return {"error": {"code": code, "message": message, "status": _STATUS.get(code, "INTERNAL")}}


def gemini_server(
    replies: Script, *, host: str = "127.0.0.1", port: int = 0
) -> AbstractAsyncContextManager[WireServer]:
    """`api_base` is the server's `url`."""
    return serve(GeminiDialect(), replies, host=host, port=port)


def _candidate(text: str, finish: str | None = None, reply: Reply | None = None) -> dict[str, Any]:
    calls = [{"functionCall": {"name": name, "args": given}} for name, given in (reply.calls if reply else ())]
    parts = [*([] if calls and not text else [{"text": text}]), *calls]
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})]}


def _facts(request: Request, reply: Reply) -> dict[str, Any]:
    usage = {
        "promptTokenCount": reply.tokens_in,
        "candidatesTokenCount": reply.tokens_out,
        "totalTokenCount": reply.tokens_in + reply.tokens_out,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reply.tokens_in}],
    }
    cached = {"cachedContentTokenCount": reply.cached} if reply.cached else {}
    model = request.path.rpartition("/")[2].partition(":")[0]
    return {"usageMetadata": usage | cached, "modelVersion": model, "responseId": "r1"}


def _event(value: Any) -> str:
    return f"data: {json.dumps(value)}\r\n\r\n"
