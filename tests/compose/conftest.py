"""Stories that only containers can tell: `--system=compose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.compose import Composed
    from support.system import System

WITHOUT_DOCKER = {"test_files.py"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    here = collection_path.suffix == ".py" and collection_path.name not in WITHOUT_DOCKER
    return True if here and config.getoption("system") != "compose" else None


@pytest.fixture(scope="session")
def compose(system: System) -> Composed:
    from support.compose import Composed  # noqa: PLC0415  # tests of files need no system

    assert isinstance(system, Composed)
    return system
