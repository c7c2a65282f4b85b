"""`flowyard up` and `flowyard down` on a real Postgres and a real NATS, with stand-ins for the services."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from flowyard.access import Caller
from flowyard.storage.database import open_database
from flowyard.storage.keys import Keys
from flowyard_embedded.stack.place import Place
from support.servers import fetch
from support.stack import SERVICES, behaving, command, free_ports, living, running, started


@pytest.fixture(scope="module")
def stopped_stack(session_home: Path) -> Path:
    place = Place(session_home / "stack")
    with running(place):
        pass
    return place.path


@pytest.fixture
def new_place(server_home: Path) -> Place:
    return Place(server_home / "stack")


@pytest.fixture
def place(new_place: Place, stopped_stack: Path) -> Place:
    """Where a stack has run before: a first start takes longer."""
    subprocess.run(["cp", "-a", stopped_stack, new_place.path], check=True)
    return new_place


def test_everything_starts_and_says_where_it_is(place: Place) -> None:
    port = free_ports()
    with started(place, "--port", str(port), "--executors", "2") as up:
        up.wait_until_up()
        for name in ("postgres", "nats", *SERVICES, "executor-2"):
            assert f"  {name}: " in up.err
        assert f"http://127.0.0.1:{port}/v1" in up.out
        assert f"http://127.0.0.1:{port + 1}" in up.out
        assert f"flowyard down --data {place.path}" in up.out
        assert "gateway    " in up.out
        state = up.state
        assert (state.phase, state.pid, state.executors) == ("running", up.process.pid, 2)
        assert {process.state for process in state.processes} == {"healthy"}
        environments = {name: up.log(name)[-1]["environ"] for name in (*SERVICES, "executor-2")}
        assert environments["executor-2"]["FLOWYARD_EXECUTOR_NAME"] == "executor-2"
        assert "nats://executor:" in environments["executor-2"]["FLOWYARD_NATS_URL"]
        assert environments["gateway"]["FLOWYARD_REGISTRY_URL"] == f"http://127.0.0.1:{up.status('registry').port}"
        assert up.end() == 0
    assert living(place) == []
    assert up.state.phase == "ended"


async def test_the_first_key_is_shown_once_and_kept_for_the_command_line(new_place: Place) -> None:
    with running(new_place) as up:
        client = json.loads(new_place.access.read_text())
        caller = await whose(up.log("gateway")[0]["environ"]["FLOWYARD_DATABASE_URL"], client["key"])
        assert caller is not None
        assert (caller.name, caller.scopes) == ("first", frozenset({"admin"}))
        assert up.out.count(client["key"]) == 1
        assert client["url"] == up.state.gateway_url
        assert stat.S_IMODE(new_place.access.stat().st_mode) == 0o600
    for file in (new_place.state, *new_place.logs.iterdir()):
        assert client["key"] not in file.read_text()
    with running(new_place) as again:
        assert "fy_" not in again.out + again.err
        assert json.loads(new_place.access.read_text()) == {"url": again.state.gateway_url, "key": client["key"]}


async def test_a_key_that_was_lost_is_replaced(place: Place) -> None:
    place.access.unlink()
    with running(place) as up:
        key = json.loads(place.access.read_text())["key"]
        assert up.out.count(key) == 1
        assert await whose(up.log("gateway")[-1]["environ"]["FLOWYARD_DATABASE_URL"], key) is not None


async def whose(database_url: str, key: str) -> Caller | None:
    async with open_database(database_url, service="test", most=1) as database:
        return await Keys(database).verify(key)


def test_ctrl_c_ends_everything_in_order(place: Place) -> None:
    slow = {name: {"stop_s": 0.3} for name in SERVICES}
    with running(place, env=behaving(slow)) as up:
        sessions = {os.getsid(process.pid) for process in up.state.processes if process.pid}
        assert len(sessions) == len(up.state.processes)
        assert os.getsid(up.process.pid) not in sessions, "the terminal's Ctrl-C would reach a service"
        assert up.end() == 0
        assert "is killed: it didn't end in time" not in up.out
    ended = {name: up.log(name)[-1]["at"] for name in SERVICES}
    assert max(ended["gateway"], ended["dashboard"]) < ended["executor-1"] - 0.2
    assert ended["executor-1"] < ended["registry"] - 0.2
    printed = up.err.partition("flowyard: ending")[2]
    assert printed.index("registry") < printed.index("nats") < printed.index("postgres")
    assert living(place) == []


def test_what_does_not_end_in_time_is_killed(place: Place) -> None:
    with running(place, env=behaving({"gateway": {"stop_s": 60}})) as up:
        assert up.end(signal.SIGTERM) == 0
        assert "gateway is killed" in up.out
    assert living(place) == []


def test_a_second_ctrl_c_kills_at_once(place: Place) -> None:
    with running(place, env=behaving({name: {"stop_s": 60} for name in SERVICES})) as up:
        up.process.send_signal(signal.SIGINT)
        up.until(lambda: up.state.phase == "ending")
        assert up.end() == 130
        assert "is killed: it didn't end in time" not in up.out
    assert living(place) == []


def test_a_start_can_be_broken_off(place: Place) -> None:
    with started(place, "--port", "0", env=behaving({"gateway": {"ill": True}})) as up:
        up.until(lambda: "registry: healthy" in up.err)
        assert up.end() == 130
    assert living(place) == []


def test_a_second_up_says_that_it_is_running(place: Place) -> None:
    with running(place) as up:
        code, out, _ = command("up", place)
        assert code == 0
        assert f"started by process {up.process.pid}" in out
        assert f"{up.state.gateway_url}/v1" in out
        code, _, err = command("up", place, "--executors", "3")
        assert code != 0
        assert "it runs with 1 executor:" in err
        assert up.state.phase == "running"


def test_services_end_with_a_supervisor_that_is_killed(place: Place) -> None:
    with running(place) as up:
        services = [psutil.Process(up.pid(name)) for name in SERVICES]
        up.process.kill()
        up.until(lambda: not any(map(lives, services)))
    command("down", place)


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_up_goes_on_where_a_killed_one_stopped(place: Place) -> None:
    slow = behaving({"executor-1": {"stop_s": 3}})
    port = free_ports()
    with started(place, "--port", str(port), env=slow) as up:
        up.wait_until_up()
        up.process.kill()
        with started(place, "--port", str(port), env=slow) as again:
            again.wait_until_up()
            assert "left behind: " in again.err
            assert len(living(place)) == len(again.state.processes)
            url = again.log("gateway")[-1]["environ"]["FLOWYARD_DATABASE_URL"]
            assert await fetch(url, "SELECT count(*) FROM api_keys") == 1


def test_down_ends_what_a_killed_up_has_left(place: Place) -> None:
    with running(place) as up:
        up.process.kill()
        up.process.wait()
        code, out, _ = command("down", place)
        assert code == 0
        assert "what a killed `flowyard up` had left running" in out
    assert living(place) == []
    assert command("down", place)[:2] == (0, f"flowyard: nothing runs in {place.path}\n")


def test_down_where_nothing_ever_ran_makes_nothing(new_place: Place) -> None:
    assert command("down", new_place)[:2] == (0, f"flowyard: nothing runs in {new_place.path}\n")
    assert not new_place.path.exists()


def test_in_the_background_until_down(place: Place) -> None:
    code, out, err = command("up", place, "--detach", "--port", "0")
    assert code == 0, err
    assert "flowyard: up after" in out
    assert "registry: healthy" in err
    assert len(living(place)) == len(SERVICES) + 2
    code, out, err = command("down", place)
    assert (code, out) == (0, "flowyard: down\n")
    assert "  gateway: ended\n" in err
    assert living(place) == []


def test_a_start_in_the_background_that_fails_says_why(place: Place) -> None:
    env = behaving({"registry": {"fail": "no good"}})
    code, _, err = command("up", place, "--detach", "--port", "0", env=env)
    assert code == 1
    assert "no good" in err
    assert living(place) == []


def test_a_port_that_is_taken_is_named(place: Place) -> None:
    port = free_ports()
    with socket.create_server(("127.0.0.1", port + 1)):
        code, _, err = command("up", place, "--port", str(port))
    assert code == 1
    assert f"port {port + 1} of 127.0.0.1, where the dashboard should listen, is taken" in err
    assert "--port" in err


@pytest.mark.parametrize(
    ("behaviour", "said"), [({"fail": "no good"}, "ended 3 times"), ({"ill": True}, "wasn't healthy within 2 s")]
)
def test_a_service_that_never_gets_healthy_ends_the_start(
    place: Place, behaviour: dict[str, object], said: str
) -> None:
    code, _, err = command("up", place, "--port", "0", env=behaving({"registry": behaviour}))
    assert code == 1
    assert f"flowyard: registry {said}" in err
    assert str(behaviour.get("fail", "began")) in err.partition(said)[2], "the last lines of its log"
    assert living(place) == []


async def test_servers_that_are_there_already_are_used(new_place: Place, database_url: str, nats_url: str) -> None:
    env = {"FLOWYARD_DATABASE_URL": database_url, "FLOWYARD_NATS_URL": nats_url}
    with running(new_place, env=env) as up:
        assert sorted(process.name for process in up.state.processes) == sorted(SERVICES)
        for name in SERVICES:
            # The sandbox has no database.
            wanted = {key: env[key] for key in env if name != "sandbox-1" or key == "FLOWYARD_NATS_URL"}
            assert up.log(name)[0]["environ"].items() >= wanted.items()
    assert await fetch(database_url, "SELECT count(*) FROM api_keys") == 1
    assert not new_place.postgres.exists()


def test_a_directory_with_other_peoples_things_is_left_alone(new_place: Place) -> None:
    new_place.path.mkdir(mode=0o755)
    (new_place.path / "diary.txt").write_text("mine")
    code, _, err = command("up", new_place)
    assert code != 0
    assert "it holds other things than Flowyard's" in err
    assert [path.name for path in new_place.path.iterdir()] == ["diary.txt"]
    assert stat.S_IMODE(new_place.path.stat().st_mode) == 0o755
