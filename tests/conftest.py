"""One real Postgres and one real NATS for all tests, started when the first test asks."""

# ruff: noqa: PLC0415  # imported where used: tests that need no server don't wait for its libraries

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flowyard_embedded.servers.postgres import PostgresServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--system",
        choices=["embedded", "compose"],
        default="embedded",
        help="what the stories of tests/e2e are told on",
    )


@pytest.fixture(scope="session")
def session_home() -> Iterator[Path]:
    from support.servers import sweep, temporary_home

    sweep()
    with temporary_home() as home:
        yield home


@pytest.fixture
def server_home() -> Iterator[Path]:
    """Where a test starts servers of its own, to crash them. It has to stop them too."""
    from support.servers import temporary_home

    with temporary_home() as home:
        yield home


@pytest.fixture(scope="session")
def postgres(session_home: Path) -> Iterator[PostgresServer]:
    from flowyard_embedded.servers.postgres import start_postgres
    from support.servers import FORGETFUL

    server = start_postgres(session_home / "postgres", settings=FORGETFUL)
    yield server
    server.process.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """Of the superuser, with the right to make databases."""
    return postgres.url.get_secret_value()


@pytest.fixture(scope="session")
def template_database(postgres: PostgresServer) -> str:
    """What every test's database is a copy of. Nobody may stay connected to it."""
    from flowyard.storage.schema import migrate
    from support.servers import create_database, in_its_own_loop

    name = create_database(postgres)
    in_its_own_loop(migrate(postgres.url_of(name).get_secret_value()))
    return name


@pytest.fixture
def database_url(postgres: PostgresServer, template_database: str) -> Iterator[str]:
    """A database for one test."""
    from support.servers import create_database, drop_database

    name = create_database(postgres, template_database)
    yield postgres.url_of(name).get_secret_value()
    drop_database(postgres, name)


@pytest.fixture(scope="session")
def nats_url(session_home: Path) -> Iterator[str]:
    """Of a user who may do everything."""
    from flowyard_embedded.servers.nats import start_nats
    from support.servers import EVERYTHING

    server = start_nats(session_home / "nats", users={"tests": EVERYTHING})
    yield server.url("tests").get_secret_value()
    server.process.stop()
