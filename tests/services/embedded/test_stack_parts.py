"""The parts of a supervisor that need no servers, and the commands that act on it."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flowyard.storage.schema import VERSION
from flowyard_embedded.stack.cores import executors_for, usable_cores
from flowyard_embedded.stack.log_file import LogFile
from flowyard_embedded.stack.logs import LineStyle, render_line
from flowyard_embedded.stack.place import Place, find_place
from flowyard_embedded.stack.services import Ports, Surroundings, our_services
from flowyard_embedded.stack.stack import Backoff
from flowyard_embedded.stack.state import read_state
from flowyard_embedded.startup import pretend_missing
from support.cli import flowyard
from support.servers import create_database, drop_database

PLAIN = LineStyle(width=10, colours=False)
FACT = {
    "ts": "2026-11-23T12:01:03.456Z",
    "level": "INFO",
    "logger": "l",
    "event": "run submitted",
    "service": "gateway",
}


def line(**fields: Any) -> str:
    return render_line("gateway", json.dumps({**FACT, **fields}), PLAIN)


@pytest.fixture(autouse=True)
def in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as here:
        here.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_a_log_line_is_one_a_person_can_read() -> None:
    assert line(workflow="haiku", runs=3) == "gateway    12:01:03 INFO  run submitted workflow=haiku runs=3"
    assert line(reason="no answer") == 'gateway    12:01:03 INFO  run submitted reason="no answer"'
    assert line(level="ERROR").startswith("gateway    12:01:03 ERROR run")


def test_of_a_traceback_only_its_end_is_shown() -> None:
    logged = line(exception="Traceback (most recent call last):\n  File …\nValueError: no good")
    assert logged.endswith('exception="ValueError: no good"')
    assert "Traceback" not in logged


@pytest.mark.parametrize(
    "text", ["Killed", "{", "[]", "3", '{"ts": 1}', '{"ts": "now", "level": "INFO", "event": "e"}']
)
def test_what_is_no_log_line_is_shown_as_it_is(text: str) -> None:
    assert render_line("gateway", text, PLAIN) == f"gateway    {text}"


def test_log_lines_cannot_steer_the_terminal() -> None:
    shown = line(event="\x1b[2J", name="\x1b]0;x\x07") + render_line("gateway", "\x1b[2J", PLAIN)
    assert "\x1b" not in shown
    assert "\x1b[2J" not in render_line(
        "gateway", json.dumps({**FACT, "event": "\x1b[2J"}), LineStyle(10, colours=True)
    )


def test_logs_do_not_grow_for_ever(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "gateway.log", limit=1000)
    for number in range(195):
        log.write(f"{number:099}\n".encode())
    log.close()
    assert {path.name for path in tmp_path.iterdir()} == {"gateway.log", "gateway.log.1", "gateway.log.2"}
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert (tmp_path / "gateway.log.1").read_text().splitlines()[-1] == f"{189:099}"
    assert stat.S_IMODE((tmp_path / "gateway.log.1").stat().st_mode) == 0o600


def test_a_full_disk_holds_nobody_up(tmp_path: Path) -> None:
    LogFile(tmp_path / "missing" / "gateway.log").write(b"lost\n")


def test_pauses_double_up_to_ten_seconds_and_start_again_after_steady_health() -> None:
    backoff = Backoff()
    assert [backoff.after(9) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert [backoff.after(10), backoff.after(0)] == [0.2, 0.4]


def test_where_the_data_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_place("here", {"FLOWYARD_DATA": "/there"}) == Place(tmp_path.resolve() / "here")
    assert find_place(None, {"FLOWYARD_DATA": "/there"}) == Place(Path("/there"))
    own = find_place(None, {"XDG_DATA_HOME": "/home/x/data"})
    assert own == Place(Path("/var/lib/flowyard" if os.geteuid() == 0 else "/home/x/data/flowyard"))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"parts": 3}', '{"parts": [], "started_at": 3}'])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)
    assert read_state(tmp_path / "stack.json") is None


def test_migrate_makes_the_tables_once(postgres: Any, tmp_path: Path) -> None:
    name = create_database(postgres)
    env = {"FLOWYARD_DATABASE_URL": postgres.url_of(name).get_secret_value()}
    first, second = (flowyard("migrate", cwd=tmp_path, env=env) for _ in range(2))
    drop_database(postgres, name)
    assert (first.code, first.out) == (0, f"flowyard: schema {VERSION}, made new\n")
    assert (second.code, second.out) == (0, f"flowyard: schema {VERSION}, as it was\n")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "FLOWYARD_DATABASE_URL: is missing"),
        ({"FLOWYARD_DATABASE_URL": "mysql://u:hidden@h/d"}, "FLOWYARD_DATABASE_URL: should begin with postgresql://"),
        ({"FLOWYARD_DATABASE_URL_FILE": "/nowhere"}, "FLOWYARD_DATABASE_URL_FILE: can't read /nowhere"),
    ],
)
def test_migrate_says_what_it_needs(env: dict[str, str], said: str, tmp_path: Path) -> None:
    ended = flowyard("migrate", cwd=tmp_path, env=env)
    assert ended.code == 2
    assert said in ended.err
    assert "hidden" not in ended.err


@pytest.mark.parametrize("args", [["--port", "99999"], ["--executors", "0"], ["--executors", "many"]])
def test_wrong_arguments_are_refused(args: list[str], tmp_path: Path) -> None:
    ended = flowyard("up", *args, cwd=tmp_path)
    assert ended.code == 2
    assert "should be a number from" in ended.err


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("", 4)]
)
def test_a_container_uses_no_more_cores_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 5}, raising=False)
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_an_executor_for_each_core_but_one() -> None:
    assert [executors_for(cores) for cores in (1, 2, 3, 8, 200)] == [1, 1, 2, 7, 64]


@pytest.mark.parametrize(
    ("own", "given"),
    [({}, "true"), ({"FLOWYARD_LOG_PROMPTS": "false"}, "false"), ({"FLOWYARD_LOG_PROMPTS_FILE": "f"}, None)],
)
def test_on_ones_own_machine_prompts_are_kept_unless_one_says_otherwise(
    tmp_path: Path, own: dict[str, str], given: str | None
) -> None:
    ports = Ports(gateway=1, dashboard=2, registry=3, executors=(4,))
    around = Surroundings(tmp_path, ports, lambda _: SecretStr("postgresql://x"), lambda _: SecretStr("nats://x"), own)
    [executor] = [spec for spec in our_services(around) if spec.name == "executor-1"]
    assert executor.environment.get("FLOWYARD_LOG_PROMPTS") == given


def test_what_a_service_must_not_import_looks_as_if_it_were_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unused_by_services.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    # Given back at the end of the test.
    monkeypatch.setitem(sys.modules, "unused_by_services", sys)
    pretend_missing(["unused_by_services"])
    with pytest.raises(ModuleNotFoundError):
        import_module("unused_by_services")


def test_only_services_that_send_requests_to_the_outside_may_import_what_sends_them(tmp_path: Path) -> None:
    ports = Ports(gateway=1, dashboard=2, registry=3, executors=(4,))
    around = Surroundings(tmp_path, ports, lambda _: SecretStr("postgresql://x"), lambda _: SecretStr("nats://x"), {})
    assert [spec.name for spec in our_services(around) if "aiohttp" not in spec.command] == ["executor-1", "registry"]
