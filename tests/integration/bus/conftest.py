from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.bus.server import NatsFromImage, NatsServer


@pytest.fixture
def stopped_nats(tmp_path: Path, *, from_images: bool) -> Iterator[NatsServer]:
    server = NatsFromImage(tmp_path) if from_images else NatsServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def nats(stopped_nats: NatsServer) -> NatsServer:
    stopped_nats.start()
    stopped_nats.wait()
    return stopped_nats
