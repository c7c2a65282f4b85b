"""A whole running system, as its user has it: an address, a key, and processes that can be treated badly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import httpx

from flowyard_embedded.stack.place import Place
from flowyard_embedded.stack.state import read_access
from support.cli import clean_environment, flowyard
from support.neighbourhood import VARIABLES, Neighbourhood, neighbourhood
from support.servers import temporary_home
from support.stack import Up
from support.waiting import eventually

EXECUTORS: Final = ("executor-1", "executor-2")
SERVICES: Final = (*EXECUTORS, "gateway", "dashboard", "registry", "sandbox-1")
QUEUE_LIMIT: Final = 60
SLOTS: Final = 16
ALL_SLOTS: Final = SLOTS * len(EXECUTORS)
ENDS_WITHIN_S: Final = 10
_SETTINGS: Final = {
    "LEASE_S": "2",
    "SWEEP_S": "0.2",
    "POLL_S": "0.3",
    "QUEUE_LIMIT": str(QUEUE_LIMIT),
    "SLOTS": str(SLOTS),
}
"""With them a lost run is found again in a second or two."""


@dataclass(frozen=True)
class System(ABC):
    """`url`: of the gateway, which is all that a client knows. `key`: may do everything.

    `near`: what it knows of this machine, where its executors reach a model, too.
    """

    url: str
    dashboard_url: str
    key: str = field(repr=False)
    near: Neighbourhood

    @property
    def model_host(self) -> str:
        return self.near.host

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    @abstractmethod
    def address(self, service: str) -> str:
        """Where it listens itself."""

    @abstractmethod
    def send(self, service: str, number: signal.Signals) -> int:
        """To the process of a service, or of the executor with that name. How often it had been started by then."""

    @abstractmethod
    async def back(self, service: str, *, after: int) -> None:
        """Returns when the service has been started more than `after` times, and is healthy."""

    @abstractmethod
    def nats_url(self, user: str) -> str:
        """For programs of others: `events` reads public events, `messages` starts runs."""

    @abstractmethod
    async def command(self, *args: str) -> str:
        """The output of `flowyard …` where the stack is, such as of commands that show its secrets."""

    @abstractmethod
    def log_lines(self) -> Iterator[tuple[str, str]]:
        """All that was logged: the service, the line."""

    def bugs(self) -> list[dict[str, Any]]:
        """What the services have logged of errors that nobody had thought of."""
        lines = list(self.log_lines())
        facts = [{"service": service, **json.loads(line)} for service, line in lines if line.startswith("{")]
        strays = [{"service": service, "event": line} for service, line in lines if not line.startswith("{")]
        return strays + [fact for fact in facts if "exception" in fact]


S = TypeVar("S", bound=System)


@dataclass(frozen=True)
class Embedded(System):
    _up: Up

    def address(self, service: str) -> str:
        return f"http://127.0.0.1:{self._up.status(service).port}"

    def send(self, service: str, number: signal.Signals) -> int:
        part = self._up.status(service)
        assert part.pid is not None
        os.kill(part.pid, number)
        return part.starts

    async def back(self, service: str, *, after: int) -> None:
        def is_back() -> bool:
            part = self._up.status(service)
            return part.starts > after and part.state == "healthy"

        await eventually(is_back, 20)

    @property
    def home(self) -> Path:
        """Where it keeps everything."""
        return self._up.place.path

    def nats_url(self, user: str) -> str:
        return (self.home / f"{user}_url").read_text()

    async def command(self, *args: str) -> str:
        ended = await asyncio.to_thread(flowyard, *args, cwd=self.home, env={"FLOWYARD_DATA": str(self.home)})
        assert ended.code == 0, ended.err
        return ended.out

    def log_lines(self) -> Iterator[tuple[str, str]]:
        for file in self._up.place.logs.glob("*.log"):
            yield from ((file.stem, line) for line in file.read_text().splitlines())


@contextmanager
def embedded(more: Mapping[str, str] = MappingProxyType({}), *, executors: int = len(EXECUTORS)) -> Iterator[Embedded]:
    """`flowyard up`. At the end of the block it gets a signal, and has to end in time and without a complaint.

    `more`: variables of its environment.
    """
    with temporary_home() as home:
        place, out, err = Place(home / "data"), home / "up.out", home / "up.err"
        near = neighbourhood("127.0.0.1", home / "files")
        given = {**VARIABLES, **near.settings, "FLOWYARD_REFERENCED_FILES": str(near.files), **more}
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                _command(place, executors),
                env={**environment_of_services(), **given},
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
            )
            up = Up(process, place, out, err)
            try:
                up.wait_until_up()
                yield _system(up, near)
                _end(up)
            finally:
                # Its services end with it, whatever has gone wrong.
                process.terminate()
                process.wait(2 * ENDS_WITHIN_S)


def environment_of_services() -> dict[str, str]:
    """Without this machine's settings and keys, with ours."""
    others = {name: value for name, value in clean_environment().items() if not name.startswith("FLOWYARD_")}
    return others | {f"FLOWYARD_{name}": value for name, value in _SETTINGS.items()}


@contextmanager
def looked_after(opened: AbstractContextManager[S]) -> Iterator[S]:
    """At the end of the block, what has to be true of a system after whatever was done to it is looked for."""
    with opened as system:
        yield system
        _look_after(system)


def _look_after(system: System) -> None:
    status = httpx.get(f"{system.url}/v1/status", headers=system.headers).json()
    assert status["queue"] == {"queued": 0, "running": 0, "waiting": 0, "oldest_queued_s": 0, "orphaned": 0}
    assert system.bugs() == []


def _command(place: Place, executors: int) -> Sequence[str]:
    more = ["--data", str(place.path), "--port", "0", "--executors", str(executors)]
    return [sys.executable, "-m", "flowyard_cli", "up", *more]


def _system(up: Up, near: Neighbourhood) -> Embedded:
    client, state = read_access(up.place.access), up.state
    assert client is not None
    assert state.dashboard_url is not None
    assert client.key.get_secret_value() in up.out, "the first key is shown"
    return Embedded(client.url, state.dashboard_url, client.key.get_secret_value(), near, up)


def _end(up: Up) -> None:
    begun = time.monotonic()
    code = up.end(signal.SIGINT)
    assert (code, time.monotonic() - begun < ENDS_WITHIN_S) == (0, True), up.err
    assert "Traceback" not in up.out + up.err
