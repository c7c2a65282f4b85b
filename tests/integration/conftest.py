from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.stored import Stored, open_stored


@pytest.fixture
async def stored(database_url: str) -> AsyncIterator[Stored]:
    """All stores over a migrated database of the test's own, with a committer at work."""
    async with open_stored(database_url) as stored:
        yield stored
