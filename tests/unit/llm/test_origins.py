"""What an answer says of itself: its model, its id, and why it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.llm.calls import NOWHERE, Origin
from flowyard.llm.openai_replies import StreamedReply, read_reply

WHOLE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "gpt-5-2026-01-01",
    "choices": [{"message": {"content": "rain"}, "finish_reason": "stop"}],
}


def test_a_whole_answer_names_its_model_its_id_and_why_it_ended() -> None:
    reply, _ = read_reply(json.dumps(WHOLE).encode())
    assert reply.origin == Origin("gpt-5-2026-01-01", "chatcmpl-1", "stop")


def test_a_streamed_answer_names_them_in_its_pieces() -> None:
    streamed = StreamedReply(lambda _: None, 1000, started=0)
    pieces = (
        {"id": "chatcmpl-1", "model": "gpt-5", "choices": [{"delta": {"content": "ra"}}]},
        {"id": "another", "model": "another", "choices": [{"delta": {"content": "in"}, "finish_reason": "length"}]},
    )
    streamed.feed(b"".join(f"data: {json.dumps(piece)}\n\n".encode() for piece in pieces) + b"data: [DONE]\n\n")
    assert streamed.end()[0].origin == Origin("gpt-5", "chatcmpl-1", "length")


@pytest.mark.parametrize("nonsense", [None, 7, "", "x" * 201, "a\0b", ["gpt"]])
def test_what_is_no_name_is_unknown(nonsense: object) -> None:
    choices = [{"message": {"content": "rain"}, "finish_reason": nonsense if isinstance(nonsense, str) else None}]
    answer = {**WHOLE, "id": nonsense, "model": nonsense, "choices": choices}
    reply, _ = read_reply(json.dumps(answer).encode())
    assert reply.origin == NOWHERE
