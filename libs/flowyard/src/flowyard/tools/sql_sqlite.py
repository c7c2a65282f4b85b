"""Reads from a SQLite file, opened read-only: its authorizer permits SELECT and nothing else."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

from flowyard.threads import in_daemon_thread
from flowyard.tools.sql_query import SqlQuery, SqlRows
from flowyard.tools.tool import ToolFailed

_SECONDS: Final = 10.0
_STEPS: Final = 10_000
"""Of its machine, between two looks at the clock."""
_MOST_CHARACTERS: Final = 800_000
_LONGEST: Final = 500
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: 500_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    # A long pattern may take for ever in one step.
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}
_PERMITTED: Final = {
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
}  # fmt: skip
_REFUSED: Final = {"load_extension", "fts3_tokenizer"}


async def query_sqlite(query: SqlQuery) -> SqlRows:
    """Raises ToolFailed, without the file's name."""
    return await in_daemon_thread(lambda: _query(query))


def _query(query: SqlQuery) -> SqlRows:
    address = f"file:{quote(query.address.removeprefix('sqlite://'))}?mode=ro"
    until = monotonic() + _SECONDS
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=2, isolation_level=None)) as connection:
            _confine(connection, until)
            values = {str(number): value for number, value in enumerate(query.parameters, 1)}
            return _rows(connection.execute(query.sql, values), query.limit)
    except sqlite3.OperationalError as error:
        reason = f"the query takes longer than {_SECONDS:g} s" if monotonic() > until else _shown(error)
        raise ToolFailed(reason) from error
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        raise ToolFailed(_shown(error)) from error


def _confine(connection: sqlite3.Connection, until: float) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    for limit, most in _LIMITS.items():
        connection.setlimit(limit, most)
    connection.text_factory = lambda data: data.decode("utf-8", "replace").replace("\0", "\ufffd")
    connection.set_authorizer(_permit)
    connection.set_progress_handler(lambda: monotonic() > until, _STEPS)


def _permit(action: int, _: str | None, name: str | None, *__: str | None) -> int:
    if action not in _PERMITTED or (action == sqlite3.SQLITE_FUNCTION and name in _REFUSED):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _rows(cursor: sqlite3.Cursor, limit: int) -> SqlRows:
    columns = [column[0] for column in cursor.description or ()]
    if not columns:
        raise ToolFailed("it returns no rows: only SELECT is possible")
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise ToolFailed(f"two columns are called '{twice}': name them by AS")
    rows, left = list[dict[str, Any]](), _MOST_CHARACTERS
    for given in cursor:
        left -= sum(len(value) * 2 if isinstance(value, bytes) else len(str(value)) for value in given)
        if left < 0 and not rows:
            raise ToolFailed(f"the first row has more than {_MOST_CHARACTERS:,} characters")
        if len(rows) == limit or left < 0:
            return SqlRows(rows, is_cut=True)
        rows.append(dict(zip(columns, map(_value, given), strict=True)))
    return SqlRows(rows, is_cut=False)


def _value(value: Any) -> Any:
    """Bytes in hexadecimal digits; a number that JSON doesn't have as a text."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(error: Exception) -> str:
    text = "".join(each if each.isprintable() else " " for each in str(error))
    return f"the database answered: {text[:_LONGEST]}"
