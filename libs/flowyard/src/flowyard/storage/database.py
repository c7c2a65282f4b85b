"""Connections to Postgres. Every store takes a Database, which raises Unavailable for errors of the connection."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import asyncpg

from flowyard.errors.base import FlowyardError
from flowyard.errors.runs import CommitRefused
from flowyard.errors.services import DiskFull, Unavailable, WrongDatabase
from flowyard.large_json import COMPACT, Encoded

_SETTINGS: Final = {
    "timezone": "UTC",
    # The hot statements are long and quick: compiling them would take longer than running them.
    "jit": "off",
    # A statement is planned once per connection, whatever its values, and by indexes even while its tables are empty.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    # A process that is frozen within a transaction must not hold up others.
    "idle_in_transaction_session_timeout": "5s",
}
_FULL_FOR_S: Final = 30.0
"""Seconds after a failure for which the disk counts as full. Executors claim every second, so it is noticed again."""
UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    # Raised by the pool if the server was killed in the middle of an answer.
    asyncpg.InternalClientError,
)
"""What asyncpg raises when the server is away, shuts down, starts, is full, or is busy: another try may succeed."""


_MOST_KEPT: Final = 2
"""So many statements are sent at a time, mostly. What else is free is closed by the pool after a minute."""

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
T = TypeVar("T")


class Database:
    """A pool of connections. Each method is one statement, and one transaction. Raises Unavailable."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._kept: list[Connection] = []
        """Connections that are taken from the pool, and are free: to take them from it and to give them back after each
        statement takes as long as to send a small statement."""
        self._waiting = 0
        """How many wait for a connection of the pool."""
        self._full_at = -math.inf

    @property
    def is_full(self) -> bool:
        """Whether a statement failed in the last 30 seconds because the disk of Postgres is full."""
        return time.monotonic() - self._full_at < _FULL_FOR_S

    async def rows(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        return await self._on_any(lambda connection: connection.fetch(statement, *args))

    async def row(self, statement: str, *args: Any) -> asyncpg.Record | None:
        return await self._on_any(lambda connection: connection.fetchrow(statement, *args))

    async def value(self, statement: str, *args: Any) -> Any:
        return await self._on_any(lambda connection: connection.fetchval(statement, *args))

    async def execute(self, statement: str, *args: Any) -> int:
        """The number of rows that the statement changed."""
        tag = await self._on_any(lambda connection: connection.execute(statement, *args))
        return int(tag.rpartition(" ")[2] or 0)

    async def server_version(self) -> str:
        """Of Postgres, such as `17.2`, without the name of the distribution that has built it."""
        return str(await self.value("SHOW server_version")).partition(" ")[0]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A transaction of several statements. Not for frequent work: a process frozen in it keeps its locks."""
        try:
            connection = await self._acquire()
            try:
                async with connection.transaction():
                    yield connection
            finally:
                await self._pool.release(connection)
        except ValueError:  # an argument of the wrong type: our bug
            raise
        except (asyncpg.DiskFullError, *UNREACHABLE) as error:
            raise self._translated(error) from error

    async def aclose(self) -> None:
        """Closes all connections."""
        while self._kept:
            await self._pool.release(self._kept.pop())
        await self._pool.close()

    async def _on_any(self, send: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """One statement on a free connection."""
        try:
            connection = await self._acquire()
            try:
                result = await send(connection)
            except BaseException:
                # The pool waits until the statement is cancelled, or replaces the connection.
                await self._pool.release(connection)
                raise
            if self._waiting or len(self._kept) >= _MOST_KEPT:
                await self._pool.release(connection)
            else:
                self._kept.append(connection)
            return result
        except ValueError:  # an argument of the wrong type: our bug
            raise
        except (asyncpg.DiskFullError, *UNREACHABLE) as error:
            raise self._translated(error) from error

    async def _acquire(self) -> Connection:
        while self._kept:
            connection = self._kept.pop()
            if _is_open(connection):
                return connection
            await self._pool.release(connection)
        self._waiting += 1
        try:
            return await self._pool.acquire()
        finally:
            self._waiting -= 1

    def _translated(self, error: Exception) -> Unavailable:
        if isinstance(error, asyncpg.DiskFullError):
            self._full_at = time.monotonic()
            return DiskFull()
        return Unavailable("Postgres")


def dumps(value: Any) -> str:
    """JSON as it is stored: compact, and ASCII, so that even half a surrogate pair is preserved.

    Raises CommitRefused for what JSON can't hold: infinity, numbers of thousands of digits, what is nested too deeply.
    """
    try:
        return value.json if isinstance(value, Encoded) else COMPACT.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise CommitRefused(str(error)) from error


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # It is closed, and was already given back therefore.
        return False


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec("json", schema="pg_catalog", encoder=dumps, decoder=json.loads)


async def _nothing(_connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Instead of asyncpg's reset, which would be a round trip after each statement: ours leave nothing in a session."""


@asynccontextmanager
async def open_database(
    url: str, *, service: str, most: int = 10, timeout_s: float = 15.0, patience_s: float = 30.0
) -> AsyncIterator[Database]:
    """At most `most` connections, opened on demand. Waits up to `patience_s` for a server that is starting.

    `timeout_s`: the longest that one statement may take. Raises Unavailable; ValueError for an invalid address.
    """
    pool = await _connect(url, service, most=most, timeout_s=timeout_s, patience_s=patience_s)
    database = Database(pool)
    try:
        yield database
    finally:
        # If the server is gone, there is nothing left to close.
        with suppress(*UNREACHABLE):
            await asyncio.wait_for(database.aclose(), 2)


def not_connected(url: str, error: Exception) -> FlowyardError:
    """The error to show for a failed attempt to connect: the address and the reason, never a password."""
    address, reason = urlsplit(url), str(error).partition("\n")[0] or type(error).__name__
    if address.password:
        reason = reason.replace(unquote(address.password), "…")
    if isinstance(error, UNREACHABLE) and not isinstance(error, ValueError):
        return Unavailable(f"Postgres at {address.hostname}:{address.netloc.rpartition(':')[2]} ({reason})")
    return WrongDatabase(reason)


async def _connect(
    url: str, service: str, *, most: int, timeout_s: float, patience_s: float
) -> asyncpg.Pool[asyncpg.Record]:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience_s
    while True:
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0,
                max_size=most,
                command_timeout=timeout_s,
                timeout=5,
                max_inactive_connection_lifetime=60,
                init=_prepare,
                reset=_nothing,
                server_settings={
                    **_SETTINGS,
                    "application_name": f"flowyard-{service}",
                    # Later than we give up ourselves: for a process that can't cancel its statement any more.
                    "statement_timeout": f"{math.ceil(timeout_s) + 5}s",
                },
            )
            await pool.fetchval("SELECT 1")
            return pool
        except (asyncpg.PostgresError, ValueError, OverflowError, *UNREACHABLE) as error:
            if not isinstance(error, UNREACHABLE) or isinstance(error, ValueError) or loop.time() > give_up:
                raise not_connected(url, error) from error
        await asyncio.sleep(0.2)
