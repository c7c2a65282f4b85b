"""One real Postgres and one real NATS for all tests, started when the first test asks; one system for all stories."""

# ruff: noqa: PLC0415  # imported where used: tests that need no server don't wait for its libraries

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flowyard.bus.connection import Bus
    from flowyard.storage.database import Database
    from support.cli import CommandLine
    from support.hands import Hands
    from support.servers import Emptying, Postgres
    from support.system import System
    from support.visitor import Model, Visitor

pytest_plugins = ["support.limits", "support.campaigns", "support.certificates", "support.spreading"]

IN_CONTAINERS = {"system": "compose", "servers": "images"}
"""The options that need a Docker engine."""
MEASURED = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--system", choices=["embedded", "compose"], default="embedded", help="what the stories of tests/e2e run on"
    )
    parser.addoption(
        "--servers",
        choices=["wheels", "images"],
        default="wheels",
        help="where the Postgres and the NATS of tests come from: from pip, or from the images that compose takes",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Else testcontainers looks for another way to its containers when we are in one ourselves.
    os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
    config.stash[MEASURED] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[MEASURED]:
        terminalreporter.write_line(line)
    if any(config.getoption(name) == value for name, value in IN_CONTAINERS.items()):
        from support.compose import lacking

        if reason := lacking():
            terminalreporter.write_line(reason, yellow=True, bold=True)


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Shows a line at the end of all tests."""
    return request.config.stash[MEASURED].append


def in_containers(config: pytest.Config, option: str) -> bool:
    """Whether the option says so. Skips the test if there is no Docker engine for it."""
    if config.getoption(option) != IN_CONTAINERS[option]:
        return False
    from support.compose import lacking

    if reason := lacking():
        pytest.skip(reason)
    return True


@pytest.fixture(scope="session")
def from_images(request: pytest.FixtureRequest) -> bool:
    """Where servers come from."""
    return in_containers(request.config, "servers")


@pytest.fixture(scope="session")
def session_home() -> Iterator[Path]:
    from support.servers import sweep, temporary_home

    sweep()
    with temporary_home() as home:
        yield home


@pytest.fixture
def server_home(*, from_images: bool) -> Iterator[Path]:
    """Where a test starts servers of its own, to crash them. It has to stop them too."""
    from support.servers import temporary_home

    if from_images:
        pytest.skip("crashes a server of its own, which is a process and no container")
    with temporary_home() as home:
        yield home


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest, *, from_images: bool) -> Iterator[Postgres]:
    if from_images:
        from support.images import postgres_image

        with postgres_image() as image:
            yield image
        return
    from flowyard_embedded.servers.postgres import start_postgres
    from support.servers import FORGETFUL

    server = start_postgres(request.getfixturevalue("session_home") / "postgres", settings=FORGETFUL)
    yield server
    server.process.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """Of the superuser, with the right to make databases."""
    return postgres.url.get_secret_value()


@pytest.fixture(scope="session")
def template_database(postgres: Postgres) -> str:
    """What the databases of tests are copies of. Nobody may stay connected to it."""
    from flowyard.storage.schema import migrate
    from support.servers import create_database, in_its_own_loop

    name = create_database(postgres)
    in_its_own_loop(migrate(postgres.url_of(name).get_secret_value()))
    return name


@pytest.fixture(scope="session")
def shared_database_url(postgres: Postgres, template_database: str) -> str:
    from support.servers import create_database

    return postgres.url_of(create_database(postgres, template_database)).get_secret_value()


@pytest.fixture(scope="session")
def emptying(shared_database_url: str) -> Iterator[Emptying]:
    from support.servers import Emptying

    with closing(Emptying(shared_database_url)) as emptying:
        yield emptying


@pytest.fixture
def database_url(shared_database_url: str, emptying: Emptying) -> str:
    """An empty database with our tables. Tests share it, and change no table: to make one takes longer than they do."""
    emptying()
    return shared_database_url


@pytest.fixture(scope="session")
def nats_url(request: pytest.FixtureRequest, *, from_images: bool) -> Iterator[str]:
    """Of a user who may do everything."""
    if from_images:
        from support.images import nats_image

        with nats_image() as url:
            yield url
        return
    from flowyard_embedded.servers.nats import start_nats
    from support.servers import EVERYTHING

    server = start_nats(request.getfixturevalue("session_home") / "nats", users={"tests": EVERYTHING})
    yield server.url("tests").get_secret_value()
    server.process.stop()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    from flowyard.storage.database import open_database

    async with open_database(database_url, service="test") as database:
        yield database


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    from flowyard.bus.connection import open_bus

    connected = asyncio.Event()
    async with open_bus(nats_url, name="test", on_connect=connected.set) as bus:
        await connected.wait()
        yield bus


@pytest.fixture
async def hands(database: Database, bus: Bus) -> AsyncIterator[Hands]:
    from support.hands import working_hands

    async with working_hands(database, bus) as hands:
        yield hands


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """What `--system` says. One for all stories."""
    from support.spreading import ENDING
    from support.system import embedded, looked_after

    # Closed before, if no further test of this worker has to do with it.
    with request.config.stash[ENDING] as ending:
        if in_containers(request.config, "system"):
            from support.compose import composed

            composed_system = ending.enter_context(looked_after(composed()))
            request.config.stash[MEASURED] = composed_system.measured
            yield composed_system
        else:
            yield ending.enter_context(looked_after(embedded()))


@pytest.fixture
async def visitor(system: System) -> AsyncIterator[Visitor]:
    from support.visitor import visitor_of

    async with visitor_of(system.url, system.key, model_host=system.model_host) as visitor:
        yield visitor


@pytest.fixture
def model(visitor: Visitor) -> Model:
    return visitor.model


@pytest.fixture
def cli(system: System, tmp_path: Path) -> CommandLine:
    """The command line of somebody who knows the secrets of senders, too."""
    from support.cli import CommandLine
    from support.neighbourhood import VARIABLES

    known = {"FLOWYARD_URL": system.url, "FLOWYARD_API_KEY": system.key, "FLOWYARD_DATA": str(tmp_path / "no data")}
    return CommandLine(tmp_path, {**VARIABLES, **known})
