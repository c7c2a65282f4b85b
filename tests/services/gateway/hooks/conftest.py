"""A gateway with a webhook of each sender."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowyard.storage.database import Database
from services.gateway.conftest import Gateway, Starting
from support.hook_senders import SECRETS, document
from support.queued import apply


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def hooked(database: Database) -> None:
    await apply(database, document())


@pytest.fixture
async def gateway(starting: Starting, environment: None, hooked: None) -> AsyncIterator[Gateway]:
    async with starting() as gateway:
        yield gateway
