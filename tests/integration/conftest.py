"""All stores, over the database of the test."""

# ruff: noqa: PLC0415  # imported where used: tests that need no server don't wait for its libraries

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.stored import Stored


@pytest.fixture
async def stored(database_url: str) -> AsyncIterator[Stored]:
    """With a committer at work."""
    from support.stored import open_stored

    async with open_stored(database_url) as stored:
        yield stored
