"""Anthropic's messages. https://docs.anthropic.com/en/api/messages"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from support.wire.behaviour import Reply
from support.wire.server import Request, Script, WireServer, serve


class AnthropicDialect:
    base = ""
    stream_type = "text/event-stream"

    def is_streamed(self, request: Request) -> bool:
        return bool(request.body.get("stream"))

    def whole(self, request: Request, reply: Reply) -> Any:
        tool = _forced_tool(request)
        content = _tool_use(tool, json.loads(reply.text)) if tool else {"type": "text", "text": reply.text}
        calls = [_tool_use(name, given, i) for i, (name, given) in enumerate(reply.calls)]
        blocks = [content, *calls] if reply.text else calls
        return _message(request, reply) | {"content": blocks, "stop_reason": _stop_reason(reply, tool)}

    def stream(self, request: Request, reply: Reply, words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
        tool = _forced_tool(request)
        block = _tool_use(tool, {}) if tool else {"type": "text", "text": ""}
        kind, name = ("input_json_delta", "partial_json") if tool else ("text_delta", "text")
        before = [
            _event("message_start", message=_message(request, reply)),
            _event("content_block_start", index=0, content_block=block),
            _event("ping"),
        ]
        pieces = [_event("content_block_delta", index=0, delta={"type": kind, name: word}) for word in words]
        stop = {"stop_reason": _stop_reason(reply, tool), "stop_sequence": None}
        return (
            before,
            pieces,
            [
                _event("content_block_stop", index=0),
                *_blocks_of_calls(reply),
                _event("message_delta", delta=stop, usage={"output_tokens": reply.tokens_out}),
                _event("message_stop"),
            ],
        )

    def event(self, value: Any) -> str:
        return f"data: {json.dumps(value)}\n\n"

    def error(self, code: int, message: str) -> Any:
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
        return {"type": "error", "error": {"type": kinds.get(code, "api_error"), "message": message}}


def anthropic_server(
    replies: Script, *, host: str = "127.0.0.1", port: int = 0
) -> AbstractAsyncContextManager[WireServer]:
    """`api_base` is the server's `url`."""
    return serve(AnthropicDialect(), replies, host=host, port=port)


def _message(request: Request, reply: Reply) -> dict[str, Any]:
    usage = {
        "input_tokens": reply.tokens_in - reply.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": reply.cached,
        "output_tokens": reply.tokens_out,
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request.body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _stop_reason(reply: Reply, tool: str | None) -> str:
    ended = "tool_use" if tool or reply.calls else "end_turn"
    return {"length": "max_tokens", "refused": "refusal"}.get(reply.ending, ended)


def _blocks_of_calls(reply: Reply) -> Iterator[str]:
    for number, (name, given) in enumerate(reply.calls):
        index, text = number + 1, json.dumps(given)
        yield _event("content_block_start", index=index, content_block=_tool_use(name, {}, number))
        for at in range(0, len(text), 5):
            delta = {"type": "input_json_delta", "partial_json": text[at : at + 5]}
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)


def _forced_tool(request: Request) -> str | None:
    """The tool that the request demands: how schemas travelled before structured outputs."""
    choice = request.body.get("tool_choice") or {}
    return choice.get("name") if choice.get("type") == "tool" else None


def _tool_use(name: str, value: Any, number: int = 1) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": value}


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"
