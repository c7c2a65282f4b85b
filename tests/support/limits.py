"""Limits of time: what pytest-timeout leaves open. And a quick start. A plugin of pytest, loaded by conftest.py."""

from __future__ import annotations

import signal
from collections.abc import Generator
from typing import Final

import pytest
from pytest_timeout import Settings

from flowyard_embedded.startup import quick_imports

IN_CONTAINERS_S: Final = 600
"""The limit of a test that may be the first, so that images are built and containers started in its time."""
REPEAT_S: Final = 10
_SETTINGS: Final = pytest.StashKey[Settings]()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Each worker imports all tests and nearly all of the product: a third of its time goes to garbage collection."""
    with quick_imports():
        return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("system") == "compose" or config.getoption("servers") == "images":
        for item in items:
            item.add_marker(pytest.mark.timeout(IN_CONTAINERS_S))


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Settings) -> Generator[None, object, object]:
    """Repeats the signal until the test has ended.

    The signal raises an exception in whatever runs at that moment. In a task that nobody awaits, only this task would
    end, and the test would hang.
    """
    item.stash[_SETTINGS] = settings
    result = yield
    signal.setitimer(signal.ITIMER_REAL, settings.timeout, REPEAT_S)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Gives the fixtures the whole limit again: pytest-timeout stops its timer when a test fails."""
    if _SETTINGS in item.stash:
        item.ihook.pytest_timeout_set_timer(item=item, settings=item.stash[_SETTINGS])
    yield
