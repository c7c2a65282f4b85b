"""What a failed call costs, as `docs/models.md` says: nothing, unless a model may have run."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

import pytest

from flowyard.llm.models import open_models
from flowyard.runs.events import ModelCalled
from support.documents import ROOT, table
from support.wire.behaviour import Behaviour, CutStream, Hang, HangUp, Malformed, Status
from support.wire.providers import ANTHROPIC, DIRECT, ENVIRON, GOOGLE, LITELLM, OPENAI, Provider
from support.workflows import document, run

EVERY = pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC, GOOGLE, DIRECT], ids=lambda provider: provider.name)
FREE, UNKNOWN = Decimal(0), None
ROWS: Final = table(ROOT / "docs" / "models.md", "a call that failed with", "costs")
LISTED: Final = {int(code): row[1] for row in ROWS for code in re.findall(r"\b[45]\d\d\b", row[0])}
"""The costs of the statuses that the page names, each for itself."""


async def cost_of(provider: Provider, behaviour: Behaviour, *, stream: bool) -> Decimal | None:
    async with provider.serve([behaviour]) as server, open_models(ENVIRON, litellm=LITELLM) as models:
        settings, timeout = provider.settings(server), 0.5 if isinstance(behaviour, Hang) else 30
        await models.prepare([settings])
        key = f", api_key_env: {settings.api_key_env}" if settings.api_key_env else ""
        at = f"api_base: '{server.url}', timeout: {timeout}{key}"
        llm = f"{{provider: {settings.provider}, model: {settings.model}, {at}}}"
        text = document("", fields="p: str", nodes=f"- {{id: a, prompt: go, outputs: [p], retry: 0, llm: {llm}}}")
        outcome = await run(text, model=models, stream=stream)
    [call] = outcome.of(ModelCalled)
    assert call.error is not None
    return call.cost_usd


@EVERY
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("code", [400, 401, 404, 409, 429, 500, 501, 503, 529, 408, 424, 502, 504, 520, 524])
async def test_an_error_status_costs_what_the_page_says(provider: Provider, code: int, *, stream: bool) -> None:
    expected = UNKNOWN if LISTED.get(code, "0").startswith("unknown") else FREE
    assert await cost_of(provider, Status(code), stream=stream) == expected


@EVERY
@pytest.mark.parametrize(
    "behaviour", [Malformed(), CutStream(), HangUp(), Hang()], ids=lambda each: type(each).__name__
)
async def test_the_cost_is_unknown_where_a_model_may_have_run(provider: Provider, behaviour: Behaviour) -> None:
    assert await cost_of(provider, behaviour, stream=True) is UNKNOWN


def test_the_page_names_the_statuses_that_may_cost() -> None:
    assert LISTED.keys() == {408, 424, 502, 504, 520, 524}
