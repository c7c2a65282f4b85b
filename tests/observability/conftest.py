"""A Prometheus that reads the system of the stories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.prometheus import prometheus

if TYPE_CHECKING:
    from support.system import System


@pytest.fixture(scope="module")
def prometheus_url(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from support.system import EXECUTORS  # noqa: PLC0415  # tests of files need no system

    def address(service: str) -> str:
        return system.address(service).removeprefix("http://")

    targets = {name: [address(name)] for name in ("registry", "gateway", "dashboard")}
    targets["executor"] = [address(name) for name in EXECUTORS]
    targets["sandbox"] = [address("sandbox-1")]
    home: Path = tmp_path_factory.mktemp("prometheus")
    with prometheus(home, targets, system.key) as url:
        yield url
