from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.attempts import Attempts, open_attempts
from support.stored import Stored


@pytest.fixture
async def attempts(stored: Stored) -> AsyncIterator[Attempts]:
    """Makes executors in miniature, each with its model; at the end none is left."""
    async with open_attempts(stored) as attempts:
        yield attempts
