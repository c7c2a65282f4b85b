"""Which tests run in the same worker. A plugin of pytest, loaded by tests/conftest.py."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

ON_THE_SYSTEM: Final = (
    "tests/e2e/stories/",
    "tests/e2e/test_openapi.py",
    "tests/e2e/test_chat_clients.py",
    "tests/e2e/test_docs_commands.py",
    "tests/e2e/test_events_page.py",
    "tests/e2e/test_mcp_conformance.py",
    "tests/e2e/test_messages_page.py",
    "tests/observability/test_panels.py",
)
"""They share one system, which takes longer to start than most of them to run."""
WITH_STACKS_OF_THEIR_OWN: Final = "tests/e2e/test_docs_commands.py::test_what_a_page_says"
WITH_LITELLM: Final = (
    "tests/unit/graph/test_costs_of_failures.py",
    "tests/unit/llm/",
    "tests/unit/steps/test_token_bounds.py",
)
"""They call models through LiteLLM in their own process, where its import takes 4 s of CPU time."""
IN_A_BROWSER: Final = (
    "tests/services/dashboard/test_browser.py",
    "tests/services/dashboard/test_mlflow.py",
    "tests/services/gateway/chat_page/test_browser.py",
    "tests/services/gateway/chat_page/test_writing_in_browser.py",
)
"""They share a browser, and a process that executors are forks of."""
ENDING: Final = pytest.StashKey[ExitStack]()
"""Ends that system when it is closed."""
_IN_A_ROW: Final = "tests on the system in a row"


class Spreading(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Spreads files over workers."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(ON_THE_SYSTEM) and not nodeid.startswith(WITH_STACKS_OF_THEIR_OWN):
            return "the system"
        if nodeid.startswith(IN_A_BROWSER):
            return "the browser"
        return "LiteLLM" if nodeid.startswith(WITH_LITELLM) else nodeid.partition("::")[0]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ENDING] = ExitStack()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called for each worker, where nothing says how tests are spread."""
    node.workerinput[_IN_A_ROW] = node.config.getoption("dist") == "loadfile"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Ends the system with the last test on it: its seven processes look for work many times a second."""
    yield
    in_a_row = getattr(item.config, "workerinput", {}).get(_IN_A_ROW, False)
    if in_a_row and not (nextitem is not None and _is_on_the_system(nextitem)):
        item.config.stash[ENDING].close()


def _is_on_the_system(item: pytest.Item) -> bool:
    return item.nodeid.startswith(ON_THE_SYSTEM) or "system" in getattr(item, "fixturenames", ())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Spreading | None:
    return Spreading(config, log) if config.getoption("dist") == "loadfile" else None
