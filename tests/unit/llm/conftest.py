from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowyard.llm.models import Models, open_models
from support.wire.providers import ENVIRON, LITELLM, PROVIDERS, Provider


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request: pytest.FixtureRequest) -> Provider:
    provider_of_test: Provider = request.param
    return provider_of_test


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    async with open_models(ENVIRON, litellm=LITELLM) as opened:
        yield opened


@pytest.fixture
async def direct_models() -> AsyncIterator[Models]:
    async with open_models(ENVIRON) as opened:
        yield opened
