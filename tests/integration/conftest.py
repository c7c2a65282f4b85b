"""A database for all tests of a file that begin with an empty one: to make one for each takes longer than the tests."""

# ruff: noqa: PLC0415  # imported where used: tests that need no server don't wait for its libraries

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flowyard_embedded.servers.postgres import PostgresServer
    from support.stored import Stored


@pytest.fixture(scope="module")
def shared_database_url(postgres: PostgresServer, template_database: str) -> Iterator[str]:
    from support.servers import create_database, drop_database

    name = create_database(postgres, template_database)
    yield postgres.url_of(name).get_secret_value()
    drop_database(postgres, name)


@pytest.fixture
async def stored(shared_database_url: str) -> AsyncIterator[Stored]:
    """All stores over a migrated and empty database, with a committer at work."""
    from support.stored import open_stored

    async with open_stored(shared_database_url) as stored:
        await stored.clear()
        yield stored
