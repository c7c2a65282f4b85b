"""`sql.query`, by a real Postgres and by SQLite: what it reads, and that nothing gets out of a database or into it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from flowyard.service.reaching_settings import read_sql_sources
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import ToolResult
from support.reaching import called
from support.servers import execute, fetch

PASSWORD = "password-that-nobody-may-see"
TABLES = (
    "CREATE SCHEMA shop",
    "CREATE TABLE shop.orders (id integer PRIMARY KEY, name text, price numeric(30, 4), at timestamptz, tags text[])",
    "INSERT INTO shop.orders VALUES (1, 'rain', 12.50, '2026-12-01T12:00Z', '{a,b}'), (2, 'wind', NULL, NULL, NULL)",
    "INSERT INTO shop.orders VALUES (3, 'large', 12345678901234567890.1234, NULL, NULL)",
    "CREATE SEQUENCE shop.numbers",
    "CREATE FUNCTION shop.sell() RETURNS int LANGUAGE sql AS 'INSERT INTO shop.orders (id) VALUES (9) RETURNING id'",
    "CREATE FUNCTION shop.mighty() RETURNS int LANGUAGE sql AS 'DELETE FROM shop.orders RETURNING id' SECURITY DEFINER",
    "CREATE TABLE shop.secrets (word text)",
    "INSERT INTO shop.secrets VALUES ('hidden')",
)


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[str]:
    """The address of a database with orders, for a role that may read them and nothing else."""
    role = f"reader_{uuid4().hex[:12]}"
    await execute(
        database_url, "DROP SCHEMA IF EXISTS shop CASCADE", *TABLES,
        f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'", f"GRANT USAGE ON SCHEMA shop TO {role}",
        f"GRANT SELECT ON shop.orders TO {role}", f"GRANT USAGE ON SEQUENCE shop.numbers TO {role}",
    )  # fmt: skip
    url = urlsplit(database_url)
    yield urlunsplit(url._replace(netloc=f"{role}:{PASSWORD}@{url.netloc.rpartition('@')[2]}"))
    await execute(database_url, "DROP SCHEMA shop CASCADE", f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id integer, name text, picture blob)")
        connection.execute("INSERT INTO orders VALUES (1, 'rain', x'00ff'), (2, 'wind', NULL)")
        connection.commit()
    return f"sqlite://{path}"


def is_file_made() -> bool:
    return Path("/tmp/flowyard-hostile").exists()


async def queried(address: str, sql: str, *parameters: Any, **given: Any) -> ToolResult:
    arguments = {"source": "shop", "sql": sql, "parameters": list(parameters), **given}
    return await called("sql.query", arguments, services=ToolServices(sql={"shop": address}))


async def test_rows_are_values_by_column_and_amounts_are_exact(reader: str) -> None:
    result = await queried(reader, "SELECT * FROM shop.orders ORDER BY id;  ")
    assert result.value == {
        "rows": [
            {"id": 1, "name": "rain", "price": 12.5, "at": "2026-12-01T12:00:00+00:00", "tags": ["a", "b"]},
            {"id": 2, "name": "wind", "price": None, "at": None, "tags": None},
            {"id": 3, "name": "large", "price": "12345678901234567890.1234", "at": None, "tags": None},
        ],
        "is_cut": False,
    }


async def test_parameters_are_values_and_no_sql(reader: str) -> None:
    hostile = "rain' OR true; DROP TABLE shop.orders --"
    assert (await queried(reader, "SELECT id FROM shop.orders WHERE name = $1", hostile)).value["rows"] == []
    sql = "SELECT id FROM shop.orders WHERE id = $1 AND price > $2 AND at < $3 AND name = $4 AND $5"
    result = await queried(reader, sql, 1, 12.25, "2026-12-02", "rain", "true")
    assert (result.error, result.value) == (None, {"rows": [{"id": 1}], "is_cut": False})
    assert (await queried(reader, "SELECT $1::int AS n", None)).value["rows"] == [{"n": None}]
    assert (await queried(reader, "SELECT $1::int AS n")).error == "it has 1 parameters, and 0 are given"
    assert (await queried(reader, "SELECT $1::int AS n", "x")).outcome == "failed"


HOSTILE = (
    "INSERT INTO shop.orders (id) VALUES (4)",
    "INSERT INTO shop.orders (id) VALUES (4) RETURNING id",
    "WITH gone AS (DELETE FROM shop.orders RETURNING id) SELECT * FROM gone",
    "SELECT 1; SELECT 2",
    "SELECT 1; COMMIT; INSERT INTO shop.orders (id) VALUES (4)",
    "SELECT 1) AS given; DROP TABLE shop.orders; SELECT (1",
    "SELECT 1) AS given LIMIT 1) AS rows) AS sized; DROP TABLE shop.orders --",
    "SELECT 1 /*",
    "COMMIT",
    "SET TRANSACTION READ WRITE",
    "SET ROLE postgres",
    "RESET ALL",
    "SHOW data_directory",
    "EXPLAIN ANALYZE SELECT shop.sell()",
    "DO $$ BEGIN INSERT INTO shop.orders (id) VALUES (4); END $$",
    "DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; INSERT INTO shop.orders (id) VALUES (4); END $$",
    "CALL shop.sell()",
    "SELECT shop.sell()",
    "SELECT shop.mighty()",
    "SELECT set_config('transaction_read_only', 'off', true), shop.sell()",
    "SELECT set_config('role', 'postgres', true), word FROM shop.secrets",
    "SELECT query_to_xml('DELETE FROM shop.orders', true, true, '')",
    "SELECT query_to_xml('COPY (SELECT 1) TO PROGRAM ''true''', true, true, '')",
    "SELECT nextval('shop.numbers')",
    "SELECT * FROM shop.orders FOR UPDATE",
    "SELECT word FROM shop.secrets",
    "SELECT rolpassword FROM pg_authid",
    "COPY (SELECT 1) TO PROGRAM 'touch /tmp/flowyard-hostile'",
    "COPY shop.orders FROM PROGRAM 'echo 4'",
    "COPY (SELECT 1) TO '/tmp/flowyard-hostile'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/flowyard-hostile')",
    "CREATE TABLE mine (id integer)",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "SELECT 1 INTO mine",
    "PREPARE mine AS SELECT 1",
    "DECLARE mine CURSOR FOR SELECT 1",
    "LISTEN mine",
    "VACUUM",
    "",
    ";",
    "-- SELECT 1",
)


@pytest.mark.parametrize("sql", HOSTILE)
async def test_nothing_is_written_and_nothing_else_is_read(reader: str, database_url: str, sql: str) -> None:
    result = await queried(reader, sql or " ")
    assert result.outcome == "failed"
    assert PASSWORD not in str(result)
    assert await fetch(database_url, "SELECT count(*) FROM shop.orders") == 3
    assert not is_file_made()


async def test_a_notification_and_a_lock_of_a_query_do_not_outlive_it(reader: str, database_url: str) -> None:
    result = await queried(reader, "SELECT pg_notify('rain', 'x'), pg_advisory_lock(4711)")
    assert result.error is None
    assert (await queried(reader, "SELECT pg_try_advisory_lock(4711) AS free")).value["rows"] == [{"free": True}]


async def test_a_role_that_could_get_out_of_the_database_is_refused(reader: str, database_url: str) -> None:
    result = await queried(database_url, "SELECT 1")
    assert result.error == "the role of 'shop' is a superuser: it could do more than read tables"
    role = urlsplit(reader).username
    await execute(database_url, f"GRANT pg_read_server_files TO {role}")
    assert (await queried(reader, "SELECT 1")).error == (
        "the role of 'shop' is a member of pg_read_server_files: it could do more than read tables"
    )


async def test_rows_are_limited_by_their_number_and_their_size(reader: str) -> None:
    few = await queried(reader, "SELECT n FROM generate_series(1, 1000000) AS n", limit=5)
    large = await queried(reader, "SELECT repeat('x', 300000) AS x FROM generate_series(1, 1000)", limit=1000)
    huge = await queried(reader, "SELECT repeat('x', 900000) AS x")
    assert few.value == {"rows": [{"n": n} for n in range(1, 6)], "is_cut": True}
    assert (len(large.value["rows"]), large.value["is_cut"]) == (2, True)
    assert huge.error == "the first row has more than 800,000 characters"


async def test_a_query_can_not_take_for_ever(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowyard.tools.sql_postgres._STATEMENT_S", 0.2)
    monkeypatch.setattr("flowyard.tools.sql_postgres._SETTINGS", {"statement_timeout": "200ms"})
    result = await queried(reader, "SELECT set_config('statement_timeout', '0', false), pg_sleep(600)")
    assert result.outcome == "failed"


async def test_two_columns_of_one_name_are_refused(reader: str) -> None:
    assert (await queried(reader, "SELECT 1 AS a, 2 AS a")).error == "two columns are called 'a': name them by AS"


async def test_nothing_of_an_address_is_in_an_error(reader: str) -> None:
    url = urlsplit(reader)
    for address in (
        urlunsplit(url._replace(netloc=url.netloc.replace(PASSWORD, f"{PASSWORD}-wrong"))),
        f"postgresql://someone:{PASSWORD}@127.0.0.1:1/somewhere",
        f"postgresql://someone:{PASSWORD}@nowhere.invalid/somewhere",
        f"postgresql://someone:{PASSWORD}@127.0.0.1:port/somewhere",
        "sqlite:///no/such/secret-file.db",
    ):
        result = await queried(address, "SELECT 1")
        assert result.outcome == "failed"
        assert not any(
            word in str(result) for word in (PASSWORD, "someone", "nowhere", "secret-file", url.username or "?")
        )
    assert PASSWORD not in repr(ToolServices(sql={"shop": reader}))


async def test_unknown_and_missing_databases_are_named() -> None:
    missing = await called("sql.query", {"source": "shop", "sql": "SELECT 1"})
    unknown = await called(
        "sql.query", {"source": "shoop", "sql": "SELECT 1"}, services=ToolServices(sql={"shop": "x"})
    )
    assert missing.error is not None
    assert "FLOWYARD_SQL_SOURCES" in missing.error
    assert unknown.error == "no database 'shoop' (did you mean 'shop'?)"


async def test_only_allowed_databases_are_read(file: str) -> None:
    arguments = {"source": "shop", "sql": "SELECT 1 AS n"}
    services = ToolServices(sql={"shop": file})
    assert (await called("sql.query", arguments, allow=("crm",), services=services)).outcome == "denied"
    assert (await called("sql.query", arguments, allow=("shop",), services=services)).value["rows"] == [{"n": 1}]


async def test_a_file_is_read(file: str) -> None:
    result = await queried(file, "SELECT * FROM orders WHERE name = $1 OR id = $2 ORDER BY id;", "rain", 2)
    assert result.value == {
        "rows": [{"id": 1, "name": "rain", "picture": "00ff"}, {"id": 2, "name": "wind", "picture": None}],
        "is_cut": False,
    }
    assert (await queried(file, "SELECT id FROM orders", limit=1)).value == {"rows": [{"id": 1}], "is_cut": True}
    assert (await queried(file, "SELECT 1e999 AS n")).value["rows"] == [{"n": "inf"}]
    assert (await queried(file, "SELECT cast(x'ff00' AS text) AS t")).value["rows"] == [{"t": "\ufffd\ufffd"}]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO orders VALUES (3, 'x', NULL)",
        "SELECT 1; DELETE FROM orders",
        "ATTACH DATABASE '/tmp/flowyard-hostile' AS other",
        "PRAGMA query_only = OFF",
        "SELECT * FROM pragma_database_list",
        "VACUUM INTO '/tmp/flowyard-hostile'",
        "SELECT load_extension('x')",
        "SELECT writefile('/tmp/flowyard-hostile', 'x')",
        "CREATE TEMP TABLE mine (id)",
        "BEGIN",
        "SELECT zeroblob(1000000000) AS x",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT group_concat(n) AS x FROM c",
        "SELECT $1 AS a",
        "",
    ],
)
async def test_nothing_is_written_to_a_file(file: str, sql: str) -> None:
    assert (await queried(file, sql or " ")).outcome == "failed"
    with closing(sqlite3.connect(file.removeprefix("sqlite://"))) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (2,)
    assert not is_file_made()


async def test_a_query_of_a_file_can_not_take_for_ever(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowyard.tools.sql_sqlite._SECONDS", 0.2)
    sql = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c"
    assert (await queried(file, sql)).error == "the query takes longer than 0.2 s"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"a": "mysql://u:hidden@x"}',
        '{"a": {"hidden": 1}}',
        '{"A b": "postgresql://u:hidden@x"}',
        '{"a": "sqlite:hidden"}',
    ],
)
def test_a_wrong_setting_is_refused_without_repeating_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="should be") as error:
        read_sql_sources(text)
    assert "hidden" not in str(error.value)
    assert read_sql_sources(json.dumps({"crm": "postgresql://x"})) == {"crm": "postgresql://x"}
