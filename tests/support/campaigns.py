"""Counts what the campaigns of tests/abuse try, and prints a table at the end. A plugin, loaded by tests/conftest.py.

The numbers travel in the reports of tests, so that the table is also complete with several workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import pytest

_PROPERTY: Final = "campaign"
_TALLIES: Final = pytest.StashKey[dict[str, "Campaign"]]()


@dataclass(slots=True)
class Campaign:
    """One way to abuse the stack. `held`: how many of the tries changed nothing that counts."""

    name: str
    tried: int = 0
    held: int = 0

    @contextmanager
    def attempt(self, what: object) -> Iterator[None]:
        """One try: it held if the block doesn't raise. `what`: shown if it does."""
        self.tried += 1
        try:
            yield
        except BaseException as error:
            error.add_note(f"in the campaign '{self.name}': {str(what)[:200]}")
            raise
        self.held += 1


Campaigns: TypeAlias = Callable[[str], Campaign]


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaigns]:
    """A campaign by its name, which several tests may share; each counts its own tries."""
    begun: dict[str, Campaign] = {}
    yield lambda name: begun.setdefault(name, Campaign(name))
    for ended in begun.values():
        request.node.user_properties.append((_PROPERTY, [ended.name, ended.tried, ended.held]))


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLIES] = {}
    config.pluginmanager.register(_Collector(config.stash[_TALLIES]))


class _Collector:
    def __init__(self, tallies: dict[str, Campaign]) -> None:
        self._tallies = tallies

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "teardown":
            return
        for name, value in report.user_properties:
            if name == _PROPERTY and isinstance(value, list):
                tally = self._tallies.setdefault(value[0], Campaign(value[0]))
                tally.tried += value[1]
                tally.held += value[2]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tallies = sorted(config.stash[_TALLIES].values(), key=lambda tally: tally.name)
    if not tallies:
        return
    width = max(len(tally.name) for tally in tallies)
    terminalreporter.section("abuse")
    terminalreporter.write_line(f"{'campaign':<{width}}  tried  held")
    for tally in tallies:
        line = f"{tally.name:<{width}}  {tally.tried:>5}  {tally.held:>4}"
        terminalreporter.write_line(line, red=tally.held < tally.tried)
