"""Models that stand in for one that fails, and the pauses that each demands."""

from __future__ import annotations

import pytest

from flowyard.errors.steps import RateLimited
from flowyard.llm.calls import ModelCall
from flowyard.runs.events import ModelCalled, RetryScheduled
from support.workflows import Answering, document, run

_LIMITED = {"error": "rate_limited"}


def _one(options: str = "", *, config: str = "") -> str:
    return document("", fields="a: str", nodes=f"- {{id: a, prompt: 'go', outputs: [a]{options}}}", config=config)


_FALLBACKS = ", llm: {provider: openai, model: one, fallbacks: [{model: gpt-two}, {provider: ollama, model: three}]}"


async def test_fallbacks_are_called_in_order_until_one_answers() -> None:
    outcome = await run(_one(_FALLBACKS), replies={"a": [_LIMITED, {"error": "model_refused"}, "third"]})
    assert outcome.result.outputs == {"a": "third"}
    assert [str(call.settings) for call in outcome.calls] == ["openai/one", "openai/gpt-two", "ollama/three"]
    assert outcome.sleeps == []
    assert [event.error.code if event.error else None for event in outcome.of(ModelCalled)] == [
        "rate_limited",
        "model_refused",
        None,
    ]


async def test_where_all_models_fail_the_step_comes_back_to_them_if_one_is_worth_it() -> None:
    refused = {"error": "model_refused"}
    outcome = await run(_one(_FALLBACKS), replies={"a": [refused, _LIMITED, refused, "ok"]})
    assert outcome.result.outputs == {"a": "ok"}
    assert [e.error.code for e in outcome.of(RetryScheduled)] == ["rate_limited"]
    outcome = await run(_one(_FALLBACKS), replies={"a": refused})
    assert outcome.result.error is not None
    assert (outcome.result.error.code, outcome.result.error.node) == ("model_refused", "a")
    assert outcome.result.error.message.startswith("ollama/three")
    assert len(outcome.calls) == 3


@pytest.mark.parametrize(
    ("pauses", "waited"),
    [
        ((3600, 17, None), [17.0]),
        ((None, 17, 30), [17.0]),
        ((None, None, 17), [17.0]),
        ((3600, 3600, 3600), []),
        ((None, 3600, None), [1.0]),
        ((3600, None, 3600), [1.0]),
    ],
)
async def test_the_shortest_pause_that_a_model_or_a_fallback_demands_is_waited_for(
    pauses: tuple[float | None, ...], waited: list[float]
) -> None:
    left = dict(zip(("one", "gpt-two", "three"), pauses, strict=True))

    async def limited(call: ModelCall) -> str:
        model = call.settings.model
        if model in left:
            raise RateLimited("slow down", provider="p", model=model, retry_after=left.pop(model))
        return "ok"

    assert (await run(_one(_FALLBACKS), model=Answering(limited))).sleeps == waited


async def test_a_retry_calls_no_model_whose_pause_isnt_over() -> None:
    now = 0.0
    pauses = {"one": 30.0, "gpt-two": 3600.0, "three": None}
    called: list[tuple[str, float]] = []

    async def limited(call: ModelCall) -> str:
        nonlocal now
        model, now = call.settings.model, now + 8
        called.append((model, now))
        raise RateLimited("slow down", provider="p", model=model, retry_after=pauses[model])

    outcome = await run(_one(f"{_FALLBACKS}, retry: 3"), model=Answering(limited), clock=lambda: now)
    # The clock moves only with the calls: the pause of `one` ends at 38, that of `three` is the normal one.
    assert called == [
        *(("one", 8), ("gpt-two", 16), ("three", 24)), ("three", 32), ("three", 40), ("one", 48), ("three", 56)
    ]  # fmt: skip
    assert outcome.result.status == "failed"


async def test_a_model_that_pauses_is_called_if_no_other_is_left() -> None:
    called: list[str] = []

    async def limited(call: ModelCall) -> str:
        called.append(call.settings.model)
        raise RateLimited("slow down", provider="p", model=call.settings.model, retry_after=17.0)

    # No time passes, as if the timer of the wait had fired early.
    await run(_one(f"{_FALLBACKS}, retry: 1"), model=Answering(limited), clock=lambda: 0.0)
    assert called == ["one", "gpt-two", "three"] * 2


async def test_what_is_left_of_a_pause_counts() -> None:
    now = 0.0
    left: dict[str, list[float | None]] = {"one": [30.0], "gpt-two": [None, 25.0], "three": [None, 25.0]}

    async def limited(call: ModelCall) -> str:
        nonlocal now
        now += 5
        model = call.settings.model
        if left[model]:
            raise RateLimited("slow down", provider="p", model=model, retry_after=left[model].pop(0))
        return "ok"

    outcome = await run(_one(f"{_FALLBACKS}, retry: 5"), model=Answering(limited), clock=lambda: now)
    # When the retry begins, ten seconds of the pause of `one` are over.
    assert outcome.sleeps == [30.0, 20.0]
