"""Postgres and NATS as we start them: real processes that are refused, killed, left behind and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from flowyard_embedded import faults
from flowyard_embedded.servers.accounts import choose_account
from flowyard_embedded.servers.lifetime import opened
from flowyard_embedded.servers.nats import NatsServer, end_nats, start_nats
from flowyard_embedded.servers.nats_config import Limits
from flowyard_embedded.servers.postgres import PostgresServer, end_postgres, start_postgres
from flowyard_embedded.servers.wheels import postgres_programs
from support.servers import EVERYTHING, execute, fetch
from support.waiting import eventually

USERS = {"tests": EVERYTHING}
OWNER = """\
import sys, time
from pathlib import Path
from flowyard_embedded.servers.nats import start_nats
from flowyard_embedded.servers.postgres import start_postgres
start = {"postgres": start_postgres, "nats": lambda home: start_nats(home, users={})}[sys.argv[1]]
print(start(Path(sys.argv[2])).process.pid, flush=True)
time.sleep(60)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as somebody else")


@pytest.fixture(params=["postgres", "nats"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def stopped_postgres(session_home: Path) -> Path:
    start_postgres(session_home / "stopped").process.stop()
    return session_home / "stopped"


@pytest.fixture
def postgres_home(server_home: Path, stopped_postgres: Path) -> Path:
    """Of a Postgres that has run before: a new one takes longer."""
    subprocess.run(["cp", "--archive", stopped_postgres, server_home / "postgres"], check=True)
    return server_home / "postgres"


@pytest.fixture
def home(kind: str, request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue("postgres_home" if kind == "postgres" else "server_home")
    return folder


def start(kind: str, home: Path, port: int | None = None) -> PostgresServer | NatsServer:
    return start_postgres(home, port=port) if kind == "postgres" else start_nats(home, users=USERS, port=port)


def postgres_server(home: Path, **options: Any) -> AbstractAsyncContextManager[PostgresServer]:
    return opened(lambda give_up: start_postgres(home, give_up=give_up, **options))


def nats_server(home: Path, **options: Any) -> AbstractAsyncContextManager[NatsServer]:
    return opened(lambda give_up: start_nats(home, give_up=give_up, **options))


def url_of(server: PostgresServer) -> str:
    return server.url.get_secret_value()


def modes(*trees: Path) -> dict[str, tuple[int, int]]:
    paths = (path for tree in trees for path in (tree, *tree.parents, *tree.rglob("*")))
    return {str(path): (path.stat().st_mode, path.stat().st_uid) for path in paths}


@pytest.fixture
def orphan(kind: str, home: Path) -> Iterator[psutil.Process]:
    """A server whose owner was killed."""
    with subprocess.Popen([sys.executable, "-c", OWNER, kind, home], stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        server = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    yield server
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


async def test_postgres_keeps_its_data_and_password_from_start_to_start(server_home: Path) -> None:
    async with postgres_server(server_home) as server:
        await execute(url_of(server), "CREATE TABLE kept AS SELECT 42 AS n")
        assert server.password.get_secret_value() not in repr(server)
    async with postgres_server(server_home, port=server.port, settings={"work_mem": "5MB"}) as again:
        assert await fetch(url_of(server), "SELECT n FROM kept") == 42
        assert await fetch(url_of(server), "SHOW work_mem") == "5MB"
        assert again.password == server.password
        assert os.getsid(again.process.pid) != os.getsid(0), "the terminal's Ctrl-C would reach it"
    assert not psutil.pid_exists(again.process.pid)


async def test_every_way_into_postgres_needs_the_password(postgres: PostgresServer) -> None:
    assert postgres.socket_directory
    ways = [{"host": "127.0.0.1"}, {"host": str(postgres.socket_directory)}]
    for way in ways:
        login: dict[str, Any] = {**way, "port": postgres.port, "user": "postgres", "database": "postgres"}
        for password in ("", "wrong"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(**login, password=password)
        connection = await asyncpg.connect(**login, password=postgres.password.get_secret_value())
        await connection.close()
    methods = "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules"
    assert await fetch(url_of(postgres), methods) == ["scram-sha-256"]
    assert await fetch(url_of(postgres), "SHOW listen_addresses") == "127.0.0.1"


def test_only_their_owner_may_read_the_secrets(kind: str, server_home: Path) -> None:
    start(kind, server_home / kind).process.stop()
    files = [path for path in (server_home / kind).iterdir() if path.is_file()]
    assert len(files) >= 3
    assert [path for path in files if stat.S_IMODE(path.stat().st_mode) != 0o600] == []


def test_nothing_outside_the_home_is_changed(kind: str, server_home: Path) -> None:
    (server_home / "neighbour").mkdir(mode=0o750)
    wheel = postgres_programs(server_home, None)
    before = modes(server_home, wheel)
    start(kind, server_home / kind).process.stop()
    assert modes(server_home / "neighbour", wheel).items() <= before.items()


@as_root
def test_root_starts_no_server_as_root(kind: str, home: Path) -> None:
    server = start(kind, home)
    try:
        running = psutil.Process(server.process.pid)
        assert 0 not in {*running.uids(), *running.gids()}
        assert running.username() == "nobody"
        assert not {0, *os.getgroups()} & set(groups_of(server.process.pid))
    finally:
        server.process.stop()


def groups_of(pid: int) -> list[int]:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("Groups:")]
    return [int(group) for group in line.split()[1:]]


@as_root
def test_a_home_that_the_server_cannot_reach_is_refused(kind: str, server_home: Path) -> None:
    closed = server_home / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(faults.OutOfReach, match=f"nobody may not enter {closed};"):
        start(kind, closed / "home")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
async def test_postgres_runs_from_a_copy_where_the_wheel_is_out_of_reach(
    server_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, closed = postgres_programs(server_home, None).parents[1], server_home / "closed"
    closed.mkdir(mode=0o700)
    for folder in (package, package.with_name(f"{package.name}.libs")):
        (closed / folder.name).symlink_to(folder)
    monkeypatch.syspath_prepend(closed)
    for _ in range(2):
        async with postgres_server(server_home / "home") as server:
            assert str(server_home / "home") in psutil.Process(server.process.pid).exe()
            assert await fetch(url_of(server), "SELECT 1") == 1


async def test_a_path_too_long_for_a_socket_leaves_postgres_with_tcp(server_home: Path) -> None:
    async with postgres_server(server_home / ("long" * 20)) as server:
        assert server.socket_directory is None
        assert await fetch(url_of(server), "SHOW unix_socket_directories") == ""


def test_a_second_start_in_the_same_home_says_that_it_is_running(kind: str, home: Path) -> None:
    server = start(kind, home)
    try:
        with pytest.raises(faults.ServerRunning, match=f"already running in {home}, started by process {os.getpid()}"):
            start(kind, home)
        with pytest.raises(faults.ServerRunning):
            (end_postgres if kind == "postgres" else end_nats)(home)
        assert psutil.pid_exists(server.process.pid)
    finally:
        server.process.stop()


def test_a_port_that_is_taken_is_named(kind: str, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(faults.PortTaken, match=f"port {port} "):
            start(kind, home, port)
    start(kind, home, port).process.stop()


async def test_postgres_is_itself_again_after_kill_9_with_sessions_at_work(postgres_home: Path) -> None:
    server = start_postgres(postgres_home)
    await execute(url_of(server), "CREATE TABLE kept AS SELECT 42 AS n")
    # This one is too busy to see that its server is gone.
    busy = await asyncpg.connect(url_of(server))
    work = asyncio.create_task(busy.execute("SELECT count(*) FROM generate_series(1, 4000000000) AS n WHERE n < 0"))
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1, 4%'"
    await eventually(lambda: fetch(url_of(server), f"{active} AND pid <> pg_backend_pid()"))
    server.process.kill()
    async with postgres_server(postgres_home, port=server.port):
        assert await fetch(url_of(server), "SELECT n FROM kept") == 42
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await work
    busy.terminate()


async def test_a_server_that_dies_is_noticed(kind: str, home: Path) -> None:
    server = start(kind, home)
    ended = asyncio.create_task(server.process.ended())
    await asyncio.sleep(0)
    os.kill(server.process.pid, signal.SIGKILL)
    assert await asyncio.wait_for(ended, 5) == -signal.SIGKILL
    server.process.stop()
    start(kind, home).process.stop()


def test_a_server_left_behind_is_replaced(kind: str, home: Path, orphan: psutil.Process) -> None:
    assert orphan.is_running()
    server = start(kind, home)
    assert server.process.pid != orphan.pid
    server.process.stop()


def test_a_server_left_behind_can_be_ended(kind: str, home: Path, orphan: psutil.Process) -> None:
    assert orphan.is_running()
    (end_postgres if kind == "postgres" else end_nats)(home)


def test_a_stale_number_that_belongs_to_another_process_now_harms_neither(postgres_home: Path) -> None:
    server = start_postgres(postgres_home)
    pid_file = postgres_home / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.process.kill()
    account = choose_account(postgres_home / "data")
    as_server = {"user": account.uid, "group": account.gid} if account else {}
    with subprocess.Popen(["sleep", "60"], **as_server) as bystander:  # type: ignore[call-overload]
        pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        start_postgres(postgres_home).process.stop()
        assert bystander.poll() is None
        bystander.kill()


def test_data_of_another_postgres_are_refused(postgres_home: Path) -> None:
    start_postgres(postgres_home).process.stop()
    (postgres_home / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(faults.OtherPostgresVersion, match="data of Postgres 17, and this is Postgres 18"):
        start_postgres(postgres_home)


def test_what_is_no_data_of_postgres_is_not_touched(server_home: Path) -> None:
    (server_home / "data").mkdir()
    (server_home / "data" / "diary.txt").write_text("mine")
    with pytest.raises(faults.UnusableDirectory, match="something else than the data of a Postgres"):
        start_postgres(server_home)
    assert [path.name for path in (server_home / "data").iterdir()] == ["diary.txt"]


def test_a_first_start_that_was_broken_off_is_made_again(server_home: Path) -> None:
    (server_home / "data.new").mkdir()
    (server_home / "data.new" / "PG_VERSION").write_text("18\n")
    start_postgres(server_home).process.stop()
    assert not (server_home / "data.new").exists()


def test_a_server_that_refuses_to_start_says_why(postgres_home: Path, server_home: Path) -> None:
    with pytest.raises(faults.ServerFailed, match='invalid value for parameter "max_connections": "many"'):
        start_postgres(postgres_home, settings={"max_connections": "many"})
    with pytest.raises(faults.ServerFailed, match="max_payload"):
        start_nats(server_home / "nats", users=USERS, limits=Limits(payload=1 << 40))


async def test_a_cancelled_start_leaves_nothing_behind(kind: str, server_home: Path) -> None:
    entering = (
        postgres_server(server_home) if kind == "postgres" else nats_server(server_home, users=USERS)
    ).__aenter__()
    task = asyncio.ensure_future(entering)
    await asyncio.sleep(0.01)  # somewhere in the middle of its start
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    start(kind, server_home).process.stop()


def test_a_long_log_is_put_aside_while_the_server_goes_on(server_home: Path) -> None:
    server = start_nats(server_home, users=USERS)
    log = server_home / "nats.log"
    with log.open("ab") as file:
        file.truncate(11_000_000)

    async def watch() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.process.ended(), 0.1)

    asyncio.run(watch())
    server.process.stop()
    assert log.with_name("nats.log.1").stat().st_size == 11_000_000
    assert log.read_text().lstrip("\0").splitlines()[-1].endswith("Server Exiting..")
    assert log.stat().st_size < 10_000
