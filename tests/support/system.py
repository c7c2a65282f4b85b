"""A whole running system, as its user has it: an address, a key, and processes that can be treated badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from flowyard_embedded.stack.client import read_client
from flowyard_embedded.stack.place import Place
from support.cli import clean_environment
from support.executors import until
from support.servers import temporary_home
from support.stack import Up

EXECUTORS: Final = ("executor-1", "executor-2")
SERVICES: Final = (*EXECUTORS, "gateway", "dashboard", "registry")
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
class System:
    """`url`: of the gateway, which is all that a client knows. `key`: may do everything."""

    url: str
    dashboard_url: str
    key: str = field(repr=False)
    _up: Up

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def address(self, service: str) -> str:
        """Where it listens itself."""
        return f"http://127.0.0.1:{self._up.part(service).port}"

    def send(self, service: str, number: signal.Signals) -> int:
        """How often the service had been started by then."""
        part = self._up.part(service)
        assert part.pid is not None
        os.kill(part.pid, number)
        return part.starts

    async def back(self, service: str, *, after: int) -> None:
        """Returns when the service has been started more than `after` times, and is healthy."""

        def is_back() -> bool:
            part = self._up.part(service)
            return part.starts > after and part.state == "healthy"

        await until(is_back, 20)

    def bugs(self) -> list[dict[str, Any]]:
        """What the services have logged of errors that nobody had thought of."""
        logs = {file.stem: file.read_text() for file in self._up.place.logs.glob("*.log")}
        lines = [(service, line) for service, log in logs.items() for line in log.splitlines()]
        facts = [{"service": service, **json.loads(line)} for service, line in lines if line.startswith("{")]
        strays = [{"service": service, "event": line} for service, line in lines if not line.startswith("{")]
        return strays + [told for told in facts if "exception" in told]


@contextmanager
def embedded() -> Iterator[System]:
    """`flowyard up`. At the end of the block it's told to end, and has to, in time and without a complaint."""
    with temporary_home() as home:
        place, out, err = Place(home / "data"), home / "up.out", home / "up.err"
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                _command(place), env=_environment(), stdin=subprocess.DEVNULL, stdout=to_out, stderr=to_err
            )
            up = Up(process, place, out, err)
            try:
                up.wait_until_up()
                yield _system(up)
                _end(up)
            finally:
                # Its services end with it, whatever has gone wrong.
                process.terminate()
                process.wait(2 * ENDS_WITHIN_S)


def _command(place: Place) -> Sequence[str]:
    more = ["--data", str(place.path), "--port", "0", "--executors", str(len(EXECUTORS))]
    return [sys.executable, "-m", "flowyard_embedded", "up", *more]


def _environment() -> dict[str, str]:
    others = {name: value for name, value in clean_environment().items() if not name.startswith("FLOWYARD_")}
    return others | {f"FLOWYARD_{name}": value for name, value in _SETTINGS.items()}


def _system(up: Up) -> System:
    client, state = read_client(up.place.client), up.state
    assert client is not None
    assert state.dashboard_url is not None
    assert client.key.get_secret_value() in up.out, "the first key is shown"
    return System(client.url, state.dashboard_url, client.key.get_secret_value(), up)


def _end(up: Up) -> None:
    begun = time.monotonic()
    code = up.end(signal.SIGINT)
    assert (code, time.monotonic() - begun < ENDS_WITHIN_S) == (0, True), up.err
    assert "Traceback" not in up.out + up.err


def look_after(system: System) -> None:
    """What has to be true of a system after whatever was done to it."""
    status = httpx.get(f"{system.url}/v1/status", headers=system.headers).json()
    assert status["queue"] == {"queued": 0, "running": 0, "waiting": 0, "oldest_queued_s": 0, "orphaned": 0}
    assert system.bugs() == []
