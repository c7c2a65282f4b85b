"""Replies that were cut off, refused or filtered: no success, no correction, and no second try."""

from __future__ import annotations

import pytest

from flowyard.llm.calls import ModelCall, ModelReply, ReplyEnding, Usage
from flowyard.llm.models import open_models
from flowyard.runs.events import ModelCalled, RetryScheduled
from support.wire.behaviour import Text
from support.wire.openai import openai_server
from support.workflows import Answering, document, run

ENDINGS = pytest.mark.parametrize(
    ("ending", "code"),
    [
        (ReplyEnding("length"), "reply_cut_off"),
        (ReplyEnding("refused", "No."), "refused"),
        (ReplyEnding("filtered"), "filtered"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)


def one(fields: str = "p: str", options: str = "") -> str:
    return document("", fields=fields, nodes=f"- {{id: a, prompt: go, outputs: [p]{options}}}")


@ENDINGS
@pytest.mark.parametrize(("fields", "text"), [("p: str", "half a"), ("p: int", "7"), ("p: 'list[int]'", "[1")])
async def test_such_a_reply_ends_its_step_and_counts_as_a_call(
    fields: str, text: str, ending: ReplyEnding, code: str
) -> None:
    async def answer(_: ModelCall) -> ModelReply:
        return ModelReply(text, Usage(3, 2), None, ending=ending)

    outcome = await run(one(fields), model=Answering(answer), log_prompts=True)
    error = outcome.result.error
    assert error is not None
    assert (error.code, error.reply) == (code, text)
    assert len(outcome.calls) == 1
    assert outcome.of(RetryScheduled) == []
    (called,) = outcome.of(ModelCalled)
    assert (called.tokens_out, called.reply, called.error and called.error.code) == (2, text, code)


@ENDINGS
async def test_a_fallback_may_do_better(ending: ReplyEnding, code: str) -> None:
    async def answer(call: ModelCall) -> ModelReply:
        return ModelReply("text", Usage(), None, ending=ending if call.settings.model == "m" else ReplyEnding())

    llm = ", llm: {provider: openai, model: m, fallbacks: [{provider: openai, model: n}]}"
    outcome = await run(one(options=llm), model=Answering(answer))
    assert outcome.result.outputs == {"p": "text"}
    assert [call.error.code if call.error else None for call in outcome.of(ModelCalled)] == [code, None]


async def test_who_wants_it_again_gets_it_again() -> None:
    retry = ", retry: {max_retries: 2, errors: [reply_cut_off, refused, filtered], initial_delay: 0}"
    replies = {"a": [{"error": "reply_cut_off"}, {"error": "filtered"}, "text"]}
    assert (await run(one(options=retry), replies=replies)).result.outputs == {"p": "text"}


async def test_the_budgets_limit_is_named() -> None:
    async with openai_server([Text("half a", ending="length")]) as server, open_models({}) as models:
        llm = f"{{provider: hosted_vllm, model: m, api_base: '{server.url}'}}"
        node = f"- {{id: a, prompt: go, outputs: [p], llm: {llm}}}"
        text = document("", fields="p: str", nodes=node, config="budget: {tokens: 200}")
        outcome = await run(text, model=models, terms=models.terms)
        limit = server.requests[0].body["max_tokens"]
    error = outcome.result.error
    assert error is not None
    assert error.message.endswith(f"the reply was cut off at {limit} tokens, the limit that the budget sets")
