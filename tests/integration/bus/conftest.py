from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.bus.server import NatsServer


@pytest.fixture
def stopped_nats(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def nats(stopped_nats: NatsServer) -> NatsServer:
    stopped_nats.start()
    stopped_nats.wait()
    return stopped_nats
