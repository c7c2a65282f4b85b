"""A whole answer to a request for a stream, as the events of a stream: LiteLLM reads nothing else there. Pure.

Known formats: those of OpenAI, Anthropic and Google. Ollama's whole answer is the last line of a stream already.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flowyard.llm.error_bodies import ErrorInReply, refuse_error, refuse_page


def events_of(body: bytes) -> bytes | None:
    """The events of a stream that says the same. None: it is in no format that is known here.

    Raises ErrorInReply.
    """
    refuse_page(body.decode(errors="replace"))
    try:
        answer: Any = json.loads(body)
        refuse_error(answer)
        return b"".join(event(json.dumps(data), data.get("type", "")) for data in _chunks(answer)) or None
    except ErrorInReply:
        raise
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return None


def event(data: str, kind: str) -> bytes:
    head = f"event: {kind}\n" if kind else ""
    # In JSON, a line break is white space.
    line = data.replace("\n", " ")
    return f"{head}data: {line}\n\n".encode()


def _chunks(answer: Any) -> Iterator[dict[str, Any]]:
    if isinstance(answer, list):
        # Google's streams without `alt=sse` are one list.
        yield from (each for each in answer if "candidates" in each or "usageMetadata" in each)
    elif answer.get("type") == "message":
        yield from _of_message(answer)
    elif "choices" in answer:
        for choice in answer["choices"] or ():
            choice.setdefault("delta", choice.get("message"))
        yield answer
    elif "candidates" in answer or "promptFeedback" in answer:
        yield answer


def _of_message(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """https://docs.anthropic.com/en/api/messages-streaming"""
    usage = message.get("usage") or {}
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        start, deltas = _of_block(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    yield {"type": "message_delta", "delta": stop, "usage": usage}
    yield {"type": "message_stop"}


def _of_block(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How the block begins, and what follows."""
    match block.get("type"):
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "thinking":
            thoughts = {"type": "thinking_delta", "thinking": block["thinking"]}
            signature = {"type": "signature_delta", "signature": block.get("signature") or ""}
            return {**block, "thinking": "", "signature": ""}, [thoughts, signature]
        case "tool_use":
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        case _:
            return dict(block), []
