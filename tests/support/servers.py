"""Places for real servers, and databases in them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

import asyncpg
from pydantic import SecretStr

from flowyard.errors.base import FlowyardError
from flowyard.storage.database import UNREACHABLE
from flowyard.storage.tables import metadata
from flowyard_embedded.servers.accounts import make_directory
from flowyard_embedded.servers.home import taken
from flowyard_embedded.servers.nats import end_nats
from flowyard_embedded.servers.nats_config import Subjects
from flowyard_embedded.servers.postgres import end_postgres

FORGETFUL: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
"""Settings of a Postgres whose data nobody will miss."""
EVERYTHING: Final = Subjects(publish=[">"], subscribe=[">"])
_END_OTHERS: Final = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)

_DELETE_ALL: Final = ";".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))

# pytest's own temporary folders are closed to the user that root starts servers as.
_PLACE: Final = Path("/tmp")
_PREFIX: Final = "flowyard-tests-"

T = TypeVar("T")


class Postgres(Protocol):
    """A server with any databases: from the wheels, or from an image. `url`: of its superuser."""

    @property
    def url(self) -> SecretStr: ...
    def url_of(self, database: str) -> SecretStr: ...


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A directory for the homes of servers. What runs in it must have been stopped when the block ends."""
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PLACE))
    # Its own lock shows `sweep` that the test lives, so the servers' homes lie below.
    with taken(path, "a test") as mine:
        home = mine.path / "home"
        make_directory(home)
        try:
            yield home
        finally:
            shutil.rmtree(home)
            mine.release()
            # From here on, the `sweep` of another test run may remove it.
            shutil.rmtree(mine.path, ignore_errors=True)


def sweep() -> None:
    """Ends and removes what killed test runs left behind."""
    for path in _PLACE.glob(f"{_PREFIX}*"):
        # Other people's, or in use.
        with suppress(FlowyardError), taken(path, "a test") as mine:
            for lock in list(mine.path.rglob("lock")):
                if lock.parent != mine.path:
                    end_postgres(lock.parent)
                    end_nats(lock.parent)
            shutil.rmtree(mine.path)
            mine.release()


def in_its_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end without touching the loop of any test."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


def create_database(server: Postgres, template: str = "template1") -> str:
    """Its name."""
    name = f"test_{uuid4().hex}"
    in_its_own_loop(execute(server.url.get_secret_value(), f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    return name


def drop_database(server: Postgres, name: str) -> None:
    in_its_own_loop(execute(server.url.get_secret_value(), f'DROP DATABASE "{name}" WITH (FORCE)'))


class Emptying:
    """Empties the database of a worker before each test. To connect again takes longer than that, so it does it once.

    It has a loop and a thread of its own, for it touches the loop of no test.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.Runner()
        self._thread = ThreadPoolExecutor(1)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    def __call__(self) -> None:
        """Deletes all rows of our tables, after it has ended whatever a test has left connected to them."""
        self._thread.submit(self._loop.run, self._empty()).result()

    def close(self) -> None:
        self._thread.submit(self._loop.run, self._disconnect()).result()
        self._thread.submit(self._loop.close).result()
        self._thread.shutdown()

    async def _empty(self) -> None:
        if self._connection is not None:
            # Some tests end all connections of the database.
            with suppress(*UNREACHABLE):
                await self._delete(self._connection)
                return
            await self._disconnect()
        self._connection = await asyncpg.connect(self._url)
        await self._delete(self._connection)

    async def _delete(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        await connection.execute(_END_OTHERS)
        await connection.execute(_DELETE_ALL)

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> Any:
    """The first value of the first row."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
