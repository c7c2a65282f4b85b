from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.attempts import WireModel
from support.executors import Yard, open_yard


@pytest.fixture
def wire() -> WireModel:
    """The model of all runs."""
    return WireModel()


@pytest.fixture
async def yard(database_url: str, nats_url: str, wire: WireModel) -> AsyncIterator[Yard]:
    async with open_yard(database_url, nats_url, wire.behave) as yard:
        yield yard
