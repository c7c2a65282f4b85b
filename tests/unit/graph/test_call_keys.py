"""The idempotency key of a model call: the same when the same question is start again, another one for another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowyard.errors.steps import JsonFormRefused, ModelNeverRan, ModelTimeout, ProviderError, RateLimited
from flowyard.llm.calls import ModelCall
from flowyard.runs.events import ModelCalled
from support.workflows import Answering, document, run

RETRIED = "- {id: a, prompt: go, outputs: [p], retry: {max_retries: 4, initial_delay: 0}%s}"
ABOUT: dict[str, Any] = {"provider": "openai", "model": "m"}
UNKNOWN = ProviderError("lost the connection", **ABOUT), ModelTimeout("no answer", **ABOUT)
KNOWN = ModelNeverRan("it answered 500", **ABOUT), RateLimited("it answered 429", **ABOUT)


async def keys(*answers: str | Exception, options: str = "") -> list[str]:
    """Of the calls of one step, which are answered in this order."""
    left: Iterator[str | Exception] = iter(answers)

    async def answer(_call: ModelCall) -> str:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    text = document("", fields="p: int", nodes=RETRIED % options)
    outcome = await run(text, model=Answering(answer))
    assert outcome.result.outputs == {"p": 7}
    assert list(left) == []
    return [call.key or "" for call in outcome.calls]


async def test_the_first_question_has_the_key_of_its_step() -> None:
    assert await keys("7") == ["run-1:a:1"]


@pytest.mark.parametrize("error", UNKNOWN, ids=["lost", "timeout"])
async def test_a_question_that_had_no_answer_is_asked_under_the_same_key(error: Exception) -> None:
    assert await keys(error, error, "7") == ["run-1:a:1"] * 3


@pytest.mark.parametrize("error", KNOWN, ids=["500", "429"])
async def test_after_an_answer_the_next_question_has_another_key(error: Exception) -> None:
    assert await keys(error, error, "7") == ["run-1:a:1", "run-1:a:1+1", "run-1:a:1+2"]


async def test_a_form_of_json_that_is_refused_leads_to_another_question_in_the_same_try() -> None:
    refused = JsonFormRefused("no response_format", **ABOUT)
    options = ", llm: {provider: openai, model: m}"
    assert await keys(refused, refused, "7", options=options) == ["run-1:a:1", "run-1:a:1+1", "run-1:a:1+2"]


async def test_the_schema_is_in_the_prompt_that_is_sent_and_logged() -> None:
    nodes = "- {id: a, prompt: go, outputs: [p], llm: {provider: openai, model: m}}"
    outcome = await run(document("", fields="p: int", nodes=nodes), {}, model=Answering(seven), log_prompts=True)
    (message,) = outcome.calls[0].messages
    assert message.text.startswith('go\n\nReply with nothing but JSON that fits this schema:\n{"type": "object"')
    assert outcome.of(ModelCalled)[0].messages == ({"role": "user", "content": message.content},)


async def seven(_: ModelCall) -> str:
    return "7"


async def test_a_corrected_conversation_has_another_key() -> None:
    assert await keys("x", UNKNOWN[0], "y", "7") == ["run-1:a:1", "run-1:a:1+1", "run-1:a:1+1", "run-1:a:1+2"]


async def test_another_model_is_another_question() -> None:
    fallback = ", llm: {provider: openai, model: m, fallbacks: [{provider: openai, model: n}]}"
    start = await keys(UNKNOWN[1], UNKNOWN[1], "7", options=fallback)
    assert start == ["run-1:a:1", "run-1:a:1+1", "run-1:a:1+2"]


async def test_no_item_has_the_key_of_another_ones_second_question() -> None:
    text = document(
        "",
        "- {from: START, parallel: {items_field: items, target_node: a, collect_field: out}}\n- {from: a, to: END}",
        fields="items: {type: 'list[int]', required: true}\np: int\nout: 'list[int]'",
        nodes=RETRIED % "",
    )
    failed: set[str | None] = set()

    async def fail_first(call: ModelCall) -> str:
        if call.key not in failed and "+" not in (call.key or ""):
            failed.add(call.key)
            raise KNOWN[0]
        return "7"

    outcome = await run(text, {"items": [0, 1]}, model=Answering(fail_first))
    start = sorted(call.key or "" for call in outcome.calls)
    assert start == ["run-1:a:1.0", "run-1:a:1.0+1", "run-1:a:1.1", "run-1:a:1.1+1"]
