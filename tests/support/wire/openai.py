"""OpenAI's chat completions. https://platform.openai.com/docs/api-reference/chat"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from support.wire.behaviour import Reply
from support.wire.server import Request, Script, WireServer, serve

_IDENTITY = {"id": "chatcmpl-1", "created": 1_700_000_000, "system_fingerprint": "fp_1"}


class OpenAIDialect:
    base = "/v1"
    stream_type = "text/event-stream"

    def is_streamed(self, request: Request) -> bool:
        return bool(request.body.get("stream"))

    def whole(self, request: Request, reply: Reply) -> Any:
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None} | _said(reply, reply.text)
        if reply.calls:
            message["content"] = reply.text or None
            message["tool_calls"] = [_call(i, name, json.dumps(given)) for i, (name, given) in enumerate(reply.calls)]
        choice = {"index": 0, "message": message, "logprobs": None} | _ending(reply)
        usage = {"usage": _usage(reply)} if reply.counted else {}
        return _object(request, "chat.completion") | {"choices": [choice]} | usage

    def stream(self, request: Request, reply: Reply, words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
        head = _object(request, "chat.completion.chunk")
        usage = (
            [_event(head | {"choices": [], "usage": _usage(reply)})] if reply.counted and _wants_usage(request) else []
        )
        before = [_event(head | _delta({"role": "assistant", "content": ""}))]
        pieces = [_event(head | _delta(_said(reply, word))) for word in words]
        pieces += [_event(head | _delta({"tool_calls": [piece]})) for piece in _pieces_of_calls(reply)]
        last = {"choices": [{"index": 0, "delta": {}, "logprobs": None} | _ending(reply)]}
        return before, pieces, [_event(head | last), *usage, "data: [DONE]\n\n"]

    def event(self, value: Any) -> str:
        return _event(value)

    def error(self, code: int, message: str) -> Any:
        kind = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(code)
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": kind}}


def openai_server(
    replies: Script, *, host: str = "127.0.0.1", port: int = 0
) -> AbstractAsyncContextManager[WireServer]:
    """`api_base` is the server's `url`."""
    return serve(OpenAIDialect(), replies, host=host, port=port)


def _object(request: Request, kind: str) -> dict[str, Any]:
    tier = {"priority": "priority", "flex": "flex"}.get(request.body.get("service_tier"), "default")
    return {**_IDENTITY, "object": kind, "model": request.body["model"], "service_tier": tier}


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}]}


def _said(reply: Reply, text: str) -> dict[str, str]:
    return {"refusal" if reply.ending == "refused" else "content": text}


def _ending(reply: Reply) -> dict[str, Any]:
    """A filter's results in Azure's form."""
    if reply.ending == "filtered":
        results = {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False, "severity": "safe"}}
        return {"finish_reason": "content_filter", "content_filter_results": results}
    return {"finish_reason": "length" if reply.ending == "length" else "tool_calls" if reply.calls else "stop"}


def _call(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _pieces_of_calls(reply: Reply) -> Iterator[dict[str, Any]]:
    for number, (name, given) in enumerate(reply.calls):
        yield {"index": number} | _call(number, name, "")
        text = json.dumps(given)
        for at in range(0, len(text), 5):
            yield {"index": number, "function": {"arguments": text[at : at + 5]}}


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.tokens_in,
        "completion_tokens": reply.tokens_out,
        "total_tokens": reply.tokens_in + reply.tokens_out,
        "prompt_tokens_details": {"cached_tokens": reply.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _wants_usage(request: Request) -> bool:
    return bool((request.body.get("stream_options") or {}).get("include_usage"))


def _event(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"
