"""Postgres and NATS from the images that users get, as the compose file names them."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import yaml
from pydantic import SecretStr
from testcontainers.core.container import DockerContainer

from support.servers import FORGETFUL, in_its_own_loop
from support.waiting import eventually_blocking

_COMPOSE: Final = Path(__file__).parents[2] / "docker-compose.yml"
_READY_WITHIN_S: Final = 60
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True)
class PostgresImage:
    port: int
    password: str

    @property
    def url(self) -> SecretStr:
        return self.url_of("postgres")

    def url_of(self, database: str) -> SecretStr:
        return SecretStr(f"postgresql://postgres:{self.password}@{LOOPBACK}:{self.port}/{database}")


def image_of(service: str) -> str:
    """What the compose file takes by default."""
    _, _, default = _settings_of(service)["image"].removesuffix("}").partition(":-")
    assert default, service
    return str(default)


def _settings_of(service: str) -> dict[str, Any]:
    service_settings: dict[str, Any] = yaml.safe_load(_COMPOSE.read_text())["services"][service]
    return service_settings


@contextmanager
def postgres_image() -> Iterator[PostgresImage]:
    """With nothing in it but its superuser."""
    password = secrets.token_hex(8)
    settings = [word for name, value in FORGETFUL.items() for word in ("-c", f"{name}={value}")]
    container = (
        DockerContainer(image_of("postgres"))
        .with_env("POSTGRES_PASSWORD", password)
        .with_env("POSTGRES_INITDB_ARGS", _settings_of("postgres")["environment"]["POSTGRES_INITDB_ARGS"])
        .with_tmpfs_mount("/var/lib/postgresql/data")
        .with_exposed_ports(5432)
        .with_command(["postgres", *settings])
    )
    with container:
        server = PostgresImage(container.get_exposed_port(5432), password)
        eventually_blocking(
            lambda: in_its_own_loop(_answers(server.url.get_secret_value())), _READY_WITHIN_S, pause_s=0.1
        )
        yield server


@contextmanager
def nats_image() -> Iterator[str]:
    """Its URL, of a user who may do everything."""
    password = secrets.token_hex(8)
    container = DockerContainer(image_of("nats")).with_exposed_ports(4222)
    with container.with_command(["--jetstream", "--user", "tests", "--pass", password]):
        port = container.get_exposed_port(4222)
        eventually_blocking(lambda: greets(port), _READY_WITHIN_S, pause_s=0.1)
        yield f"nats://tests:{password}@{LOOPBACK}:{port}"


def greets(port: int) -> bool:
    """Docker takes connections for a server that doesn't yet: only its greeting says that it is there."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1) as connection:
        return connection.recv(4) == b"INFO"
    return False


async def _answers(url: str) -> bool:
    with suppress(OSError, asyncpg.PostgresError):
        await (await asyncpg.connect(url, timeout=5)).close()
        return True
    return False
