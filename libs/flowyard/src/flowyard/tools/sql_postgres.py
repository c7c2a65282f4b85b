"""Reads from a Postgres: in a transaction that can't write, as a role that can't get out of the database.

What a text can be is decided by Postgres itself. The text is first prepared alone, so it is one statement; then it is
executed as a subquery, which only a SELECT, VALUES or TABLE can be, and which can't close our parentheses, since it was
whole by itself. The transaction is rolled back in any case.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

import asyncpg

from flowyard.threads import in_daemon_thread
from flowyard.tools.sql_query import SqlQuery, SqlRows
from flowyard.tools.tool import ToolFailed

_CONNECT_S: Final = 8.0
_STATEMENT_S: Final = 15
_MOST_CHARACTERS: Final = 800_000
"""Of all rows, as JSON. What is longer never leaves the database."""
_LONGEST: Final = 500
_SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "flowyard sql.query",
    "default_transaction_read_only": "on",
    "statement_timeout": f"{_STATEMENT_S}s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
}
_POWERS: Final = """
SELECT CASE WHEN rolsuper THEN 'is a superuser' ELSE (
    SELECT 'is a member of ' || power FROM unnest(ARRAY[
        'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files']) AS power
    WHERE pg_has_role(power, 'MEMBER') LIMIT 1
) END FROM pg_roles WHERE rolname = current_user
"""
_WRAPPED: Final = """
SELECT CASE WHEN size <= {most} THEN row END FROM (
    SELECT row, sum(length(row)) OVER (ROWS UNBOUNDED PRECEDING) AS size FROM (
        SELECT to_json(given)::text AS row FROM (
{sql}
        ) AS given LIMIT {limit}
    ) AS rows
) AS sized
"""


async def query_postgres(query: SqlQuery) -> SqlRows:
    """Raises ToolFailed, without any of the address."""
    connection = await _connect(query)
    try:
        if (power := await connection.fetchval(_POWERS)) is not None:
            raise ToolFailed(f"the role of '{query.source}' {power}: it could do more than read tables")
        async with asyncio.timeout(_STATEMENT_S + 5):
            texts = await _rows(connection, query)
    except TimeoutError as error:
        raise ToolFailed(f"the query takes longer than {_STATEMENT_S} s") from error
    except asyncpg.PostgresError as error:
        raise ToolFailed(_shown(error)) from error
    except (asyncpg.InterfaceError, OSError) as error:
        raise ToolFailed(f"the connection to '{query.source}' failed, or a parameter doesn't fit") from error
    finally:
        connection.terminate()
    return await in_daemon_thread(lambda: _read(texts, query.limit))


async def _connect(query: SqlQuery) -> Any:
    try:
        return await asyncpg.connect(
            query.address, timeout=_CONNECT_S, command_timeout=_STATEMENT_S + 2, server_settings=dict(_SETTINGS)
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError, TimeoutError) as error:
        # What these say may name the host, the user, or all of the address.
        raise ToolFailed(f"can't connect to '{query.source}': {type(error).__name__}") from None


async def _rows(connection: Any, query: SqlQuery) -> list[str | None]:
    """As JSON. None: too much comes before it."""
    # Rolled back with the connection: not even a NOTIFY gets out.
    await connection.execute("BEGIN TRANSACTION READ ONLY")
    alone = await connection.prepare(query.sql)
    columns = [column.name for column in alone.get_attributes()]
    if not columns:
        raise ToolFailed("it returns no rows: only SELECT is possible")
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise ToolFailed(f"two columns are called '{twice}': name them by AS")
    types = alone.get_parameters()
    if len(types) != len(query.parameters):
        raise ToolFailed(f"it has {len(types)} parameters, and {len(query.parameters)} are given")
    for kind in {kind.oid: kind for kind in types}.values():
        if kind.kind == "array":
            raise ToolFailed("a parameter is an array: use string_to_array($1, ',')")
        # So each value is read by Postgres, from its text.
        await connection.set_type_codec(kind.name, schema=kind.schema, encoder=_text, decoder=str, format="text")
    text = _WRAPPED.format(most=_MOST_CHARACTERS, sql=query.sql, limit=query.limit + 1)
    return [row for (row,) in await connection.fetch(text, *query.parameters)]


def _read(texts: list[str | None], limit: int) -> SqlRows:
    whole = [text for text in texts if text is not None]
    if texts and not whole:
        raise ToolFailed(f"the first row has more than {_MOST_CHARACTERS:,} characters")
    rows = [json.loads(text, parse_float=_number) for text in whole[:limit]]
    return SqlRows(rows, is_cut=len(texts) > len(rows))


def _number(text: str) -> float | str:
    """A text for what no floating-point number is exactly, such as an amount with 20 digits."""
    number = float(text)
    return number if isfinite(number) and Decimal(repr(number)) == Decimal(text) else text


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(error: asyncpg.PostgresError) -> str:
    text = "".join(each if each.isprintable() else " " for each in str(error))
    return f"the database answered: {text[:_LONGEST]}"
