"""The reasoning of a model, which is kept apart from its reply on every transport."""

from __future__ import annotations

from typing import Any

import pytest

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken
from flowyard.llm.models import Models
from flowyard.llm.reasoning import REASONING_LIMIT, Reasoning, split_reasoning
from support.wire.behaviour import Behaviour, Odd, Text
from support.wire.providers import DIRECT, KEY, OPENAI, Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
OPENAIS = pytest.mark.parametrize("provider", [OPENAI, DIRECT], ids=lambda provider: provider.name)


def call_of(settings: ModelSettings) -> ModelCall:
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


async def reply_of(models: Models, provider: Provider, behaviour: Behaviour, on_token: OnToken | None) -> ModelReply:
    async with provider.serve([behaviour]) as server:
        return await models.reply(call_of(provider.settings(server)), on_token)


def openai_answer(**message: Any) -> Odd:
    said = {"role": "assistant", **message}
    choice = {"index": 0, "message": said, "delta": said, "finish_reason": "stop"}
    return Odd({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


@STREAMED
async def test_a_block_of_reasoning_before_the_reply_is_kept_apart(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    text = f"<think>\nHm, {KEY}?\n</think>\n<reasoning>So</reasoning>\n\n Yes."
    reply = await reply_of(models, provider, Text(text), on_token)
    assert reply.text == "Yes."
    # Only what was sent with the call is masked.
    key = "***" if provider.key_value else KEY
    assert reply.reasoning.endswith(f"Hm, {key}?\nSo")


@STREAMED
@OPENAIS
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_in_a_field_of_its_own_is_kept_apart(
    provider: Provider, models: Models, name: str, on_token: OnToken | None
) -> None:
    message = {name: f"Hm, {KEY}\ud83d", "content": "Yes."}
    reply = await reply_of(models, provider, openai_answer(**message), on_token)
    assert (reply.text, reply.reasoning) == ("Yes.", "Hm, ***\ufffd")


@STREAMED
async def test_a_message_of_several_parts_is_read(models: Models, on_token: OnToken | None) -> None:
    """As Mistral's reasoning models send it."""
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    nothing = {"type": "text", "text": None}
    parts = [thoughts, {"type": "text", "text": "Yes"}, nothing, {"type": "text", "text": "."}]
    reply = await reply_of(models, DIRECT, openai_answer(content=parts), on_token)
    assert (reply.text, reply.reasoning) == ("Yes.", "Hm")


@pytest.mark.parametrize(
    ("text", "reasoning", "rest"),
    [
        ("Yes.", "", "Yes."),
        ("<thinking>a</thinking><reasoning>b</reasoning>c <think>d</think>", "a\nb", "c <think>d</think>"),
        ("<think>Yes.", "Yes.", ""),
        ("<THINK>a</Think>b <thinking effort='low'>c</thinking>", "a", "b <thinking effort='low'>c</thinking>"),
        ("<thinking effort='low'>a</thinking>b", "a", "b"),
        ("a</think>\nb", "a", "b"),
        ("a </think> b", "", "a </think> b"),
        ("a <think>b</think>", "", "a <think>b</think>"),
        ("<think></think>Yes.", "", "Yes."),
    ],
)
def test_only_blocks_at_the_beginning_are_reasoning(text: str, reasoning: str, rest: str) -> None:
    assert split_reasoning(text) == (reasoning, rest)


def test_the_beginning_of_long_reasoning_is_kept() -> None:
    reasoning = Reasoning()
    for piece in ("\ud83d", "\ude00", "a" * REASONING_LIMIT, "b", 5, None):
        reasoning.add(piece)
    assert reasoning.text() == f"😀{'a' * (REASONING_LIMIT - 2)}"
