"""A system of its own, and a Prometheus that reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.prometheus import prometheus

if TYPE_CHECKING:
    from support.system import System
    from support.visitor import Visitor


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    from support.system import embedded  # noqa: PLC0415  # tests of files need no system

    with embedded() as system:
        yield system


@pytest.fixture(scope="module")
def prometheus_url(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from support.system import EXECUTORS  # noqa: PLC0415  # as above

    def address(service: str) -> str:
        return system.address(service).removeprefix("http://")

    targets = {name: [address(name)] for name in ("registry", "gateway", "dashboard")}
    targets["executor"] = [address(name) for name in EXECUTORS]
    home: Path = tmp_path_factory.mktemp("prometheus")
    with prometheus(home, targets, system.key) as url:
        yield url


@pytest.fixture
async def visitor(system: System) -> AsyncIterator[Visitor]:
    from support.visitor import visitor_of  # noqa: PLC0415  # as above

    async with visitor_of(system.url, system.key) as visitor:
        yield visitor
