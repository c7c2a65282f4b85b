"""What a call that failed is said to have used: nothing only where that is certain."""

from __future__ import annotations

import socket
from decimal import Decimal

import pytest

from flowyard.llm.models import open_models
from flowyard.runs.events import ModelCalled
from support.wire.behaviour import Behaviour, CutStream, Hang, HangUp, Malformed, Odd, Status
from support.wire.openai import openai_server
from support.workflows import document, run

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
UNKNOWN = (None, None, None, None)
NOTHING = (0, 0, 0, Decimal(0))


async def failed_call(url: str, *, stream: bool, provider: str = "hosted_vllm") -> ModelCalled:
    llm = f"{{provider: {provider}, model: m, api_base: '{url}', timeout: 0.3}}"
    node = f"- {{id: a, prompt: go, outputs: [a], retry: 0, llm: {llm}}}"
    async with open_models({}) as models:
        outcome = await run(document("", fields="a: str", nodes=node), model=models, stream=stream)
    (call,) = outcome.of(ModelCalled)
    assert call.error is not None
    return call


def used(call: ModelCalled) -> tuple[int | None, int | None, int | None, Decimal | None]:
    return call.tokens_in, call.tokens_out, call.tokens_cached, call.cost_usd


@STREAMED
@pytest.mark.parametrize(
    "behaviour",
    [
        CutStream(after=0),
        CutStream(after=2),
        HangUp(),
        Malformed(),
        Odd({}),
        Odd({"error": "down"}),
        Hang(),
        Status(502),
        Status(504),
    ],
    ids=str,
)
async def test_a_model_that_may_have_worked_has_used_nobody_knows_what(behaviour: Behaviour, *, stream: bool) -> None:
    async with openai_server([behaviour]) as server:
        assert used(await failed_call(server.url, stream=stream)) == UNKNOWN


@STREAMED
@pytest.mark.parametrize("code", [400, 401, 404, 429, 500, 503])
async def test_a_call_that_was_turned_away_has_used_nothing(code: int, *, stream: bool) -> None:
    async with openai_server([Status(code)]) as server:
        assert used(await failed_call(server.url, stream=stream)) == NOTHING


@STREAMED
async def test_a_call_that_never_left_has_used_nothing(*, stream: bool) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        call = await failed_call(f"http://127.0.0.1:{unused.getsockname()[1]}", stream=stream)
    assert used(call) == NOTHING


async def test_a_call_that_costs_nothing_costs_nothing_however_it_ends() -> None:
    async with openai_server([CutStream(after=0)]) as server:
        call = await failed_call(server.url, stream=True, provider="ollama")
    assert (call.tokens_out, call.cost_usd) == (None, Decimal(0))
