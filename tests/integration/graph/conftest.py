from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.engine import Asked, Engine, Engines
from support.stored import Stored


@pytest.fixture
async def engine(stored: Stored) -> AsyncIterator[Engines]:
    """Makes executors in miniature, each with its model; at the end none is left."""
    made: list[Engine] = []

    def make(model: Asked) -> Engine:
        made.append(Engine(stored, model))
        return made[-1]

    yield make
    for one in made:
        await one.crash()
