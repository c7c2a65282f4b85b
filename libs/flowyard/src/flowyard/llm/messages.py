"""The messages of a model call: as the state keeps them, as OpenAI's format has them, and as logs show them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flowyard.llm.calls import ChatMessage, ToolCall


def chat_message(kept: Mapping[str, Any]) -> ChatMessage:
    """A value of the type `message`, as `conform` returns it."""
    content = kept["content"]
    return ChatMessage(
        role=kept["role"],
        content=tuple(content) if isinstance(content, list) else content,
        tool_calls=tuple(map(ToolCall.of, kept.get("tool_calls") or ())),
        tool_call_id=kept.get("tool_call_id"),
        name=kept.get("name"),
    )


def openai_message(message: ChatMessage) -> dict[str, Any]:
    """In OpenAI's format, which LiteLLM translates for other providers."""
    content = message.content
    data: dict[str, Any] = {
        "role": message.role,
        "content": [dict(part) for part in content] if isinstance(content, tuple) else content,
    }
    if message.tool_calls:
        data["tool_calls"] = [call.data for call in message.tool_calls]
    if message.tool_call_id is not None:
        data["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        data["name"] = message.name
    return data


def with_text(message: ChatMessage, text: str) -> tuple[ChatMessage, ...]:
    """The message with a text after its own; if it isn't the user's, a message of the user's after it."""
    content = message.content
    if message.role != "user" or content is None:
        return message, ChatMessage("user", text)
    if isinstance(content, str):
        return (ChatMessage("user", f"{content}\n\n{text}", name=message.name),)
    return (ChatMessage("user", (*content, {"type": "text", "text": text}), name=message.name),)


def shown_text(message: ChatMessage) -> str:
    """The message as one text, for logs: in the place of an image or a file is what it was."""
    return "\n".join(_pieces(message))


def _pieces(message: ChatMessage) -> Iterator[str]:
    match message.content:
        case str(text):
            yield text
        case tuple(parts):
            yield from map(_shown_part, parts)
    yield from map(shown_call, message.tool_calls)


def shown_call(call: ToolCall) -> str:
    return f"[calls {call.name} {call.arguments}]"


def _shown_part(part: Mapping[str, Any]) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return f"[image: {_shown_url(url)}]"
        case {"type": "file", "file": {"file_data": str(data), **rest}}:
            return f"[file: {rest.get('filename') or 'without a name'}, {len(data):,} characters]"
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            return f"[audio: {len(data):,} characters]"
        case _:
            return json.dumps(dict(part), ensure_ascii=False)


def _shown_url(url: str) -> str:
    if url[:5].lower() != "data:":
        return url
    kind, _, data = url.partition(",")
    return f"{kind[5:].partition(';')[0]}, {len(data):,} characters"
