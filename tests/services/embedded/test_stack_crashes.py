"""What a supervisor does when something dies: a service, Postgres, NATS, or who reads its output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyard_embedded.stack.place import Place
from support.servers import fetch, temporary_home
from support.stack import SERVICES, Up, behaving, launched, running


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """One for all tests here: what dies is there again."""
    with temporary_home() as home, running(Place(home / "stack")) as up:
        yield up


def kill(up: Up, name: str) -> None:
    """Until it's there again, as another process."""
    killed, starts = up.pid(name), up.status(name).starts
    os.kill(killed, signal.SIGKILL)
    up.until(lambda: up.status(name).starts > starts and up.status(name).state == "healthy")
    assert up.pid(name) != killed


def test_a_service_that_dies_is_started_again_and_no_other(up: Up) -> None:
    before = {process.name: process.pid for process in up.state.processes}
    port = up.status("gateway").port
    kill(up, "gateway")
    assert up.status("gateway").port == port
    after = {process.name: process.pid for process in up.state.processes}
    assert [name for name in before if before[name] != after[name]] == ["gateway"]
    assert "gateway has ended by itself exit_code=-9" in up.out
    up.until(lambda: "gateway is healthy again" in up.out)


def test_the_pauses_before_starts_grow(up: Up) -> None:
    for _ in range(3):
        kill(up, "dashboard")
    pauses = [line["in_s"] for line in up.log("flowyard") if line["event"] == "dashboard is started again"]
    assert pauses == [0.2, 0.4, 0.8]


async def test_postgres_comes_back_on_its_port_with_its_data(up: Up) -> None:
    before, url = up.status("postgres").port, up.log("gateway")[-1]["environ"]["FLOWYARD_DATABASE_URL"]
    pids = [up.pid(name) for name in SERVICES]
    kill(up, "postgres")
    assert up.status("postgres").port == before
    assert await fetch(url, "SELECT count(*) FROM api_keys") == 1
    assert [up.pid(name) for name in SERVICES] == pids


def test_nats_comes_back_on_its_port(up: Up) -> None:
    before = up.status("nats").port
    kill(up, "nats")
    assert up.status("nats").port == before


def test_nothing_waits_for_who_does_not_read_the_output(server_home: Path) -> None:
    place = Place(server_home / "stack")
    loud = behaving({name: {"chatter": 2_000} for name in SERVICES})
    with launched(place, "--port", "0", env=loud, out=subprocess.PIPE, err=subprocess.DEVNULL) as process:
        up = Up(process, place, Path(os.devnull), Path(os.devnull))
        up.until(lambda: place.state.exists() and up.state.phase == "running")
        kill(up, "registry")
        assert up.end() == 0
    assert len(up.log("registry")) > 4_000


def test_json_logs_are_all_there_is_on_standard_output(server_home: Path) -> None:
    with running(Place(server_home / "stack"), "--json-logs") as up:
        kill(up, "registry")
    lines = [json.loads(line) for line in up.out.splitlines()]
    assert {"began", "registry has ended by itself", "ended"} <= {line["event"] for line in lines}
    assert "API key" in up.err
