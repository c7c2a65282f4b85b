"""Items of stored responses, which a request names instead of sending them."""

from __future__ import annotations

from typing import Any

from flowyard.openai_api.item_references import referred_runs, with_referred
from flowyard.storage.chat_sessions import Owner
from flowyard_gateway.chat.answering import read_answer
from flowyard_gateway.chat.models import ChatModel
from flowyard_gateway.parts import GatewayParts


async def with_stored_items(
    parts: GatewayParts, model: ChatModel, key_id: str, given: str | list[Any]
) -> str | list[Any]:
    """The input with the items that it refers to. References to what isn't stored for this key and model are kept."""
    runs = referred_runs(given) if isinstance(given, list) else ()
    if not runs:
        return given
    outputs = await parts.chats.answers(Owner(model.name, key_id), runs, most_bytes=parts.control.inputs_limit)
    return with_referred(given, {run: read_answer(output) for run, output in outputs.items()})
