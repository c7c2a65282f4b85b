"""How a reply ended, in each provider's own form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.errors.steps import ProviderError, ReplyCutOff, ReplyFiltered, ReplyRefused
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, OnToken, ReplyEnding, Usage
from flowyard.llm.endings import unusable
from flowyard.llm.models import Models, open_models
from support.wire.behaviour import Odd, Raw, Text
from support.wire.providers import ANTHROPIC, DIRECT, ENVIRON, GOOGLE, KEY, OPENAI, Provider

STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])
OPENAIS = pytest.mark.parametrize("provider", [OPENAI, DIRECT], ids=lambda provider: provider.name)


async def reply_of(
    models: Models, provider: Provider, behaviour: Text | Odd | Raw, on_token: OnToken | None
) -> ModelReply:
    async with provider.serve([behaviour]) as server:
        call = ModelCall("write", provider.settings(server), (ChatMessage("user", "Hello?"),))
        return await models.reply(call, on_token)


def openai_answer(reason: str, **message: Any) -> Odd:
    said = {"role": "assistant", "content": "", **message}
    choice = {"index": 0, "message": said, "delta": said, "finish_reason": reason}
    return Odd({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


@STREAMED
async def test_a_reply_that_is_complete_ends_with_stop(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    assert (await reply_of(models, provider, Text("a reply"), on_token)).ending == ReplyEnding()


@STREAMED
async def test_an_answer_names_the_model_that_wrote_it_its_id_and_why_it_ended(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    origin = (await reply_of(models, provider, Text("a reply"), on_token)).origin
    assert origin.model is not None
    assert provider.model in origin.model
    assert origin.id
    assert origin.finish_reason == "stop"


@STREAMED
async def test_a_reply_that_was_cut_off_keeps_its_text_and_its_usage(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    reply = await reply_of(models, provider, Text("half a", ending="length"), on_token)
    assert (reply.text, reply.ending, reply.usage.tokens_out) == ("half a", ReplyEnding("length"), 5)


@STREAMED
@pytest.mark.parametrize("provider", [OPENAI, DIRECT, ANTHROPIC], ids=lambda provider: provider.name)
async def test_a_refusal_comes_with_the_models_words(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    reply = await reply_of(models, provider, Text("No, I won't.", ending="refused"), on_token)
    assert reply.ending == ReplyEnding("refused", "No, I won't.")


@STREAMED
@pytest.mark.parametrize(
    ("provider", "why"), [(OPENAI, "hate"), (DIRECT, "hate"), (GOOGLE, "SAFETY")], ids=["openai", "direct", "google"]
)
async def test_a_filter_comes_with_its_reason(
    provider: Provider, models: Models, why: str, on_token: OnToken | None
) -> None:
    reply = await reply_of(models, provider, Text("half a", ending="filtered"), on_token)
    assert reply.ending == ReplyEnding("filtered", why)


@STREAMED
@pytest.mark.parametrize(
    ("blocked", "why"),
    [
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, "prompt: PROHIBITED_CONTENT"),
        ({"candidates": [{"finishReason": "SAFETY", "index": 0}]}, "reply: SAFETY"),
        ({"candidates": [{"finishReason": "RECITATION", "index": 0}]}, "reply: RECITATION"),
    ],
    ids=["prompt", "safety", "recitation"],
)
async def test_what_gemini_blocks_comes_with_its_reason(
    models: Models, blocked: dict[str, Any], why: str, on_token: OnToken | None
) -> None:
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 0, "totalTokenCount": 3}
    reply = await reply_of(models, GOOGLE, Odd({**blocked, "usageMetadata": usage}), on_token)
    error = unusable(reply, ModelSettings("google", "m"), is_budget=False)
    assert isinstance(error, ReplyFiltered)
    assert error.detail == f"a content filter blocked the {why}"


@STREAMED
async def test_the_reasons_of_two_calls_dont_mix(models: Models, on_token: OnToken | None) -> None:
    await reply_of(models, GOOGLE, Text("half a", ending="filtered"), on_token)
    reply = await reply_of(models, ANTHROPIC, Text("No.", ending="refused"), on_token)
    assert reply.ending == ReplyEnding("refused", "No.")
    assert (await reply_of(models, ANTHROPIC, Text("Yes."), on_token)).ending == ReplyEnding()


@STREAMED
@OPENAIS
@pytest.mark.parametrize(
    "message",
    [{"reasoning_content": "Well"}, {"content": "<think>Well, "}, {"content": "\n<reasoning> a"}],
    ids=["apart", "think", "reasoning"],
)
async def test_tokens_that_all_went_into_reasoning_are_known(
    provider: Provider, models: Models, message: dict[str, str], on_token: OnToken | None
) -> None:
    reply = await reply_of(models, provider, openai_answer("length", **message), on_token)
    assert reply.ending == ReplyEnding("length", only_reasoned=True)


@STREAMED
@OPENAIS
@pytest.mark.parametrize(
    "message",
    [{"reasoning_content": "Well", "content": "It"}, {"content": "<think>Well</think> It"}, {"content": ""}],
    ids=["apart", "think", "nothing"],
)
async def test_a_reply_that_was_cut_off_after_its_reasoning_is_none_of_reasoning_alone(
    provider: Provider, models: Models, message: dict[str, str], on_token: OnToken | None
) -> None:
    reply = await reply_of(models, provider, openai_answer("length", **message), on_token)
    assert reply.ending == ReplyEnding("length")


@STREAMED
@OPENAIS
@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("MAX_TOKENS", ReplyEnding("length")),
        ("max_output_tokens", ReplyEnding("length")),
        ("SAFETY", ReplyEnding("filtered", "SAFETY")),
        ("guardrail_intervened", ReplyEnding("filtered", "guardrail_intervened")),
        ("STOP", ReplyEnding()),
        ("eos", ReplyEnding()),
    ],
)
async def test_a_reason_that_a_proxy_passes_on_as_it_is_means_the_same(
    provider: Provider, models: Models, reason: str, ending: ReplyEnding, on_token: OnToken | None
) -> None:
    assert (await reply_of(models, provider, openai_answer(reason, content="half a"), on_token)).ending == ending


@STREAMED
@OPENAIS
async def test_a_prompt_that_a_filter_blocks_is_filtered(
    provider: Provider, models: Models, on_token: OnToken | None
) -> None:
    error = {"message": "The prompt triggered our policy", "type": None, "param": "prompt", "code": "content_filter"}
    blocked = Raw(json.dumps({"error": error}).encode(), status=400, kind="application/json")
    with pytest.raises(ReplyFiltered, match=r"a content filter blocked the prompt: The prompt triggered our policy$"):
        await reply_of(models, provider, blocked, on_token)


@STREAMED
@pytest.mark.parametrize("reason", ["abort", "error", "insufficient_system_resource"])
async def test_a_provider_that_fails_within_a_reply_is_an_error(
    models: Models, reason: str, on_token: OnToken | None
) -> None:
    with pytest.raises(ProviderError, match=f"stopped in the middle of the reply: {reason}"):
        await reply_of(models, DIRECT, openai_answer(reason, content="half a"), on_token)


async def test_a_refusal_spells_no_secret() -> None:
    async with open_models(ENVIRON) as models:
        reply = await reply_of(models, DIRECT, Text(f"Not for {KEY}!", ending="refused"), None)
    assert reply.ending.why == "Not for ***!"


@pytest.mark.parametrize(
    ("ending", "limit", "expected", "message"),
    [
        (ReplyEnding("length"), "own", ReplyCutOff, "the reply was cut off at 16 tokens, its max_tokens"),
        (ReplyEnding("length"), "budget", ReplyCutOff, "cut off at 16 tokens, the limit that the budget sets"),
        (ReplyEnding("length", only_reasoned=True), "own", ReplyCutOff, "; reasoning took all of them"),
        (ReplyEnding("length"), "none", ReplyCutOff, "cut off at 9 tokens, the model's own limit"),
        (ReplyEnding("refused", "Never."), "own", ReplyRefused, "the model refused to answer: Never."),
        (ReplyEnding("refused"), "own", ReplyRefused, "openai/m: the model refused to answer"),
        (ReplyEnding("filtered", "SAFETY"), "own", ReplyFiltered, "a content filter blocked the reply: SAFETY"),
        (ReplyEnding("filtered"), "own", ReplyFiltered, "openai/m: a content filter blocked the reply"),
    ],
    ids=str,
)
def test_the_error_says_what_happened(ending: ReplyEnding, limit: str, expected: type[Exception], message: str) -> None:
    settings = ModelSettings("openai", "m", max_tokens=None if limit == "none" else 16)
    error = unusable(ModelReply("half", Usage(3, 9), None, ending=ending), settings, is_budget=limit == "budget")
    assert error is not None
    assert type(error) is expected
    assert str(error).endswith(message)
    assert error.reply == "half"
