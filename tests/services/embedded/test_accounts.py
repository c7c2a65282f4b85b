"""As whom the services of a stack run, on the system and in Postgres."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flowyard.storage.database import open_database
from flowyard.storage.keys import Keys
from flowyard.storage.schema import migrate
from flowyard_embedded.servers.accounts import SystemAccount, account_of_services, unreadable_code
from flowyard_embedded.servers.postgres import start_postgres
from flowyard_embedded.stack.output import Screen, StackOutput
from flowyard_embedded.stack.place import Place
from flowyard_embedded.stack.service import ServiceSpec, SupervisedService
from support.servers import FORGETFUL
from support.stack import SERVICES, running
from support.waiting import eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user")


@as_root
async def test_what_root_starts_runs_as_a_user_that_owns_nothing(server_home: Path) -> None:
    account = account_of_services()
    assert account is not None
    logs = server_home / "logs"
    logs.mkdir()
    output = StackOutput(logs, Screen(), as_json=True, width=1)
    secret = server_home / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    command = ["/bin/sh", "-c", f"id -u; id -G; cat {secret} || echo refused"]
    spec = ServiceSpec("probe", command, {"PATH": os.defpath}, 1, 0, 0.1, account=account)
    running_it = asyncio.create_task(SupervisedService(spec, output, lambda: None).run())
    lines = await eventually(lambda: output.last_lines("probe") if len(output.last_lines("probe")) >= 4 else None)
    running_it.cancel()
    await asyncio.wait([running_it])
    output.close()
    assert lines[0] == str(account.uid)
    assert lines[1] == str(account.gid)
    assert "refused" in lines


@as_root
def test_services_and_servers_have_different_users(server_home: Path) -> None:
    server = start_postgres(server_home / "postgres", settings=FORGETFUL)
    account = account_of_services()
    assert account is not None
    assert (server_home / "postgres" / "data").stat().st_uid not in {0, account.uid}
    server.process.stop()


def test_programs_that_the_user_of_services_can_not_read_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    (closed / "bin" / "python").touch()
    closed.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(closed / "bin" / "python"))
    stranger = SystemAccount(4_000_000, 4_000_000)
    blocked = unreadable_code(stranger)
    assert blocked is not None
    assert (closed / "bin" / "python").is_relative_to(blocked)


async def test_no_service_is_the_superuser_and_each_has_a_role_of_its_own(server_home: Path) -> None:
    with running(Place(server_home / "stack")) as up:
        environments = {name: up.log(name)[0]["environ"] for name in SERVICES}
        assert "FLOWYARD_DATABASE_URL" not in environments.pop("sandbox-1")
        urls = {name: environment["FLOWYARD_DATABASE_URL"] for name, environment in environments.items()}
        roles = {name: urlsplit(url).username for name, url in urls.items()}
        assert roles == {name: f"flowyard_{name.removesuffix('-1')}" for name in urls}
        assert {urlsplit(url).path for url in urls.values()} == {"/flowyard"}
        for url in urls.values():
            async with open_database(url, service="test", most=1) as database:
                assert not await database.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")


async def test_a_data_directory_of_an_earlier_release_opens(server_home: Path) -> None:
    place = Place(server_home / "stack")
    place.path.mkdir()
    place.state.write_text("{}")
    server = start_postgres(place.postgres)
    superuser = server.url.get_secret_value()
    await migrate(superuser)
    async with open_database(superuser, service="test", most=1) as database:
        _, key = await Keys(database).create("old", frozenset({"run"}))
    server.process.stop()
    for _ in range(2):
        with running(place) as up:
            url = up.log("gateway")[-1]["environ"]["FLOWYARD_DATABASE_URL"]
            async with open_database(url, service="test", most=1) as database:
                caller = await Keys(database).verify(key)
                assert caller is not None
                assert caller.name == "old"
