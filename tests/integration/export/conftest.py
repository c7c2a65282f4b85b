from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flowyard_embedded.servers.ports import free_port
from support.executors import Yard, open_yard
from support.mlflow import Mlflow, NotInstallable, mlflow_server
from support.wire.behaviour import Behaviour, Text


@pytest.fixture(scope="session")
def mlflow(session_home: Path) -> Iterator[Mlflow]:
    """A real server for all tests."""
    try:
        with mlflow_server(session_home / "mlflow", free_port()) as server:
            yield server
    except NotInstallable as error:
        pytest.skip(f"MLflow can't be installed here, so nothing is read back from it: {error}")


@dataclass
class Replying:
    """What the model answers from now on."""

    says: Behaviour


@pytest.fixture
def model() -> Replying:
    return Replying(Text("done"))


@pytest.fixture
async def yard(database_url: str, nats_url: str, model: Replying) -> AsyncIterator[Yard]:
    async with open_yard(database_url, nats_url, lambda _request: model.says) as yard:
        yield yard
