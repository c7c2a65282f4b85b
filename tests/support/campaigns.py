"""Counts what the campaigns of tests/abuse try, and what that costs; prints tables at the end.

A plugin, loaded by tests/conftest.py.

The numbers travel in the reports of tests, so that the tables are also complete with several workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import pytest

LONGEST_HELD_S: Final = 0.25
"""No event loop of a service may be held for longer, however busy the machine is."""
MOST_CPU_S: Final = 240.0
"""What all tests of tests/abuse may use together: so they take no longer than four minutes on a quiet machine."""
CPU: Final = "cpu"
"""Of a test: the CPU time of itself and of the processes that ended in it, in seconds."""
SERVICE: Final = "service"
"""Of a test: name, most memory and its limit in MB, and for how many seconds its event loop was held at most."""
_CAMPAIGN: Final = "campaign"
_TALLIES: Final = pytest.StashKey["_Tallies"]()


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
        request.node.user_properties.append((_CAMPAIGN, [ended.name, ended.tried, ended.held]))


class _Tallies:
    """Sums and maxima over all tests."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}
        self.services: dict[str, tuple[int, int, float]] = {}
        self.cpu_s = 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "teardown":
            return
        for name, value in report.user_properties:
            if name == _CAMPAIGN and isinstance(value, list):
                tally = self.campaigns.setdefault(value[0], Campaign(value[0]))
                tally.tried += value[1]
                tally.held += value[2]
            elif name == SERVICE and isinstance(value, list):
                service, most, limit, held_s = value
                before = self.services.get(service, (0, limit, 0.0))
                self.services[service] = max(before[0], most), limit, max(before[2], held_s)
            elif name == CPU and isinstance(value, float):
                self.cpu_s += value


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLIES] = _Tallies()
    config.pluginmanager.register(config.stash[_TALLIES])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash[_TALLIES].cpu_s > MOST_CPU_S and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tallies = config.stash[_TALLIES]
    if not tallies.campaigns:
        return
    terminalreporter.section("abuse")
    campaigns = sorted(tallies.campaigns.values(), key=lambda tally: tally.name)
    width = max(len(tally.name) for tally in campaigns)
    terminalreporter.write_line(f"{'campaign':<{width}}  tried  held")
    for tally in campaigns:
        line = f"{tally.name:<{width}}  {tally.tried:>5}  {tally.held:>4}"
        terminalreporter.write_line(line, red=tally.held < tally.tried)
    if tallies.services:
        terminalreporter.write_line("\nservice    most memory  its limit  event loop held")
    for name, (most, limit, held_s) in sorted(tallies.services.items()):
        line = f"{name:<9}  {most:>8} MB  {limit:>6} MB  {1000 * held_s:>12.0f} ms"
        terminalreporter.write_line(line, red=most >= limit or held_s >= LONGEST_HELD_S)
    line = f"\nCPU time: {tallies.cpu_s:.0f} s, of at most {MOST_CPU_S:.0f} s"
    terminalreporter.write_line(line, red=tallies.cpu_s > MOST_CPU_S)
