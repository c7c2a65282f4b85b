"""Stories that need containers: `--system=compose`. The tests of files run without it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.compose import Composed
    from support.system import System

WITHOUT_DOCKER = {"test_files.py"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    with_docker = config.getoption("system") == "compose"
    is_test = collection_path.name.startswith("test_")
    return True if is_test and (collection_path.name in WITHOUT_DOCKER) == with_docker else None


@pytest.fixture(scope="session")
def compose(system: System) -> Composed:
    from support.compose import Composed  # noqa: PLC0415  # tests of files need no system

    assert isinstance(system, Composed)
    return system
