"""Which tests run in the same worker. A plugin of pytest, loaded by tests/conftest.py."""

from __future__ import annotations

from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

ON_THE_SYSTEM: Final = ("tests/e2e/stories/", "tests/e2e/test_openapi.py", "tests/e2e/test_docs_commands.py")
"""They share one system, which takes longer to start than most of them to run."""


class Spreading(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Spreads files over workers."""

    def _split_scope(self, nodeid: str) -> str:
        return "the system" if nodeid.startswith(ON_THE_SYSTEM) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Spreading | None:
    return Spreading(config, log) if config.getoption("dist") == "loadfile" else None
