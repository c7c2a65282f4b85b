"""`flowyard logs`: files, events, and what is shown when there is only one of them."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from flowyard.runs.events import Failure
from flowyard_cli.logs.compose import ContainerLogs
from flowyard_cli.logs.files import LogFiles
from flowyard_cli.logs.line import LineFilter, LogLine, NoLogs, in_order
from flowyard_embedded.stack.log_file import LogFile
from flowyard_embedded.stack.state import GatewayAccess, write_access
from support.remote import Remote, open_remote

START = datetime(2026, 11, 23, 6, tzinfo=UTC)
RUN = uuid4()


def line(at_s: float, event: str, *, at: datetime = START, level: str = "INFO", **fields: Any) -> str:
    ts = (at + timedelta(seconds=at_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"ts": ts, "level": level, "logger": "x", "event": event, **fields})


def events(lines: list[LogLine]) -> list[str]:
    return [str(line.fact["event"]) if line.fact else line.text for line in lines]


def write(folder: Path, name: str, *lines: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    with (folder / f"{name}.log").open("a") as file:
        file.writelines(f"{text}\n" for text in lines)


def newest(folder: Path, most: int | None = None, **wanted: Any) -> list[str]:
    return events(in_order(LogFiles(folder).newest(LineFilter(**wanted), most)))


def test_lines_of_all_services_are_one_list_in_the_order_of_their_times(tmp_path: Path) -> None:
    write(tmp_path, "gateway", line(0, "first"), line(2, "third"))
    write(tmp_path, "executor-1", line(1, "second"), "Segmentation fault", line(3, "fourth"))
    assert newest(tmp_path) == ["first", "second", "Segmentation fault", "third", "fourth"]
    assert newest(tmp_path, 1) == ["third", "fourth"]


def test_only_what_is_wanted_is_shown(tmp_path: Path) -> None:
    about: dict[str, Any] = {"run_id": str(RUN)}
    write(tmp_path, "gateway", line(0, "a", **about), line(1, "b", run_id=str(uuid4())), line(2, f"not {RUN}"))
    write(tmp_path, "executor-1", line(3, "c", service="executor", **about), line(4, "d", level="DEBUG", **about))
    write(tmp_path, "executor-2", line(5, "e", level="WARNING", service="executor"))
    assert newest(tmp_path, run_id=RUN) == ["a", "c"]
    assert newest(tmp_path, run_id=RUN, level="debug") == ["a", "c", "d"]
    assert newest(tmp_path, level="warning") == ["e"]
    assert newest(tmp_path, service="executor") == ["c", "e"]
    assert newest(tmp_path, service="executor-2") == ["e"]


def test_that_somebody_has_looked_is_no_part_of_a_runs_story(tmp_path: Path) -> None:
    seen: dict[str, Any] = {"run_id": str(RUN), "method": "GET", "status": 200}
    write(tmp_path, "gateway", line(0, "a", **seen), line(1, "b", **(seen | {"status": 409})))
    write(tmp_path, "gateway", line(2, "c", **(seen | {"method": "POST"})))
    assert newest(tmp_path, run_id=RUN) == ["b", "c"]
    assert newest(tmp_path, run_id=RUN, level="debug") == newest(tmp_path) == ["a", "b", "c"]


def test_files_that_were_put_aside_are_read_too(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "gateway.log", limit=180)
    for number in range(7):
        log.write(f"{line(number, str(number))}\n".encode())
    log.close()
    assert (tmp_path / "gateway.log.2").exists()
    assert newest(tmp_path) == [str(number) for number in range(7)]
    assert newest(tmp_path, 3) == ["4", "5", "6"]


def test_who_follows_misses_nothing_when_files_are_put_aside_and_services_come(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "gateway.log", limit=1000)
    log.write(f"{line(0, 'before')}\n".encode())
    files, received, stop = LogFiles(tmp_path), [], threading.Event()
    assert events(list(files.newest(LineFilter(), None))) == ["before"]

    def receive(new: LogLine) -> None:
        received.append(new)
        if len(received) < 20:
            log.write(f"{line(len(received), str(len(received)))}\n".encode())
        elif len(received) == 20:
            write(tmp_path, "executor-1", line(21, "new"))
        else:
            stop.set()

    log.write(f"{line(1, 'after')}\n".encode())
    thread = threading.Thread(target=files.follow, args=(LineFilter(), receive, stop), daemon=True)
    thread.start()
    thread.join(20)
    log.close()
    assert events(received) == ["after", *map(str, range(1, 20)), "new"]


DOCKER = """\
#!/bin/sh
echo "$@" >> calls
case "$*" in
  *nobody*) exit 0 ;;
  *broken*) echo 'no such project' >&2; exit 3 ;;
  *--follow*) printf '\\033[2Kgateway-1 | %s\\n' "$LAST" "$NEXT" ;;
  *) printf '\\033[2Kpostgres-1  | 2026-11-23T06:00:00.000000001Z ready\\n'
     printf 'gateway-1   | %s\\n' "$FIRST" "$LAST" ;;
esac
"""
"""As docker compose prints logs."""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the arguments of each call."""
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("FIRST", "LAST", "NEXT"), 1):
        text = line(number, name, service="gateway", run_id=str(RUN))
        monkeypatch.setenv(name, f"2026-11-23T06:00:0{number}.000000002Z {text}")
    return tmp_path / "calls"


def test_the_lines_of_containers_come_from_docker_compose(docker: Path) -> None:
    source, received = ContainerLogs("mine"), list[LogLine]()
    newest = in_order(source.newest(LineFilter(), 2))
    assert [(one.name, *events([one])) for one in newest] == [
        ("postgres-1", "ready"),
        ("gateway-1", "FIRST"),
        ("gateway-1", "LAST"),
    ]
    assert events(list(source.newest(LineFilter(run_id=RUN), None))) == ["FIRST", "LAST"]
    source.follow(LineFilter(), received.append, threading.Event())
    assert events(received) == ["NEXT"]
    common = "compose --project-name mine logs --no-color --timestamps"
    since = "--follow --since 2026-11-23T06:00:02.000000002Z"
    assert docker.read_text().splitlines() == [f"{common} --tail 20", common, f"{common} {since}"]
    assert source.names == {"postgres-1", "gateway-1"}


@pytest.mark.parametrize(
    ("project", "why"),
    [("nobody", "is this the name of the project"), ("broken", "docker compose failed: no such project")],
)
@pytest.mark.usefixtures("docker")
def test_containers_whose_lines_cant_be_read_are_not_passed_over(project: str, why: str) -> None:
    with pytest.raises(NoLogs, match=why):
        ContainerLogs(project).newest(LineFilter(), None)


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await remote.applied()
        yield remote


async def failed(remote: Remote) -> str:
    run_id = (await remote.cli("run", "poem", "-i", "topic=rain", "--detach")).out.strip()
    claim = await remote.hands.take()
    await remote.hands.step(claim, "draft", {"draft": "what the model said"})
    await remote.hands.fail(claim, Failure("provider_error", "it is down", "write", reply="what it said"))
    return run_id


def write_logs(remote: Remote, files: Mapping[str, list[str]]) -> None:
    """The gateway is one of this machine: here are its logs."""
    data = remote.folder / "d"
    data.mkdir()
    write_access(data / "cli.json", GatewayAccess(remote.gateway.url, SecretStr(remote.key)))
    for name, lines in files.items():
        write(data / "logs", name, *lines)


async def test_the_log_of_a_run_has_its_events_and_the_lines_of_all_services(remote: Remote) -> None:
    run_id, now = await failed(remote), datetime.now(UTC)
    about = {"run_id": run_id, "trace_id": UUID(run_id).hex}
    files = {
        "gateway": [line(-60, "request answered", at=now, service="gateway", **about)],
        "executor-1": [
            line(1, "a run failed: a bug", at=now, level="ERROR", service="executor", **about),
            line(2, "another", at=now, service="executor", run_id=str(uuid4())),
        ],
    }
    write_logs(remote, files)
    ended = await remote.cli("logs", "last")
    printed = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, "")
    wanted = (
        "gateway .*INFO  request answered",
        "events .*INFO  run.queued",
        "events .*INFO  step.started node=draft",
        "events .*INFO  step.finished node=draft",
        'events .*ERROR run.failed .*code=provider_error error="it is down"',
        "executor-1 .*ERROR a run failed: a bug",
    )
    assert len(printed) == len(wanted)
    for text, pattern in zip(printed, wanted, strict=True):
        assert re.search(pattern, text), (pattern, text)
    assert "said" not in ended.out
    facts = [json.loads(text) for text in (await remote.cli("logs", run_id[:13], "--json")).out.splitlines()]
    assert {(one["run_id"], one["trace_id"]) for one in facts} == {(run_id, about["trace_id"])}
    assert facts[-1]["process"] == "executor-1"
    assert (await remote.cli("logs", run_id, "--level", "error", "--service", "executor")).out.count("\n") == 1


async def test_a_name_that_no_process_has_is_no_silence(remote: Remote) -> None:
    run_id = await failed(remote)
    write_logs(remote, {"gateway": [line(0, "hello")], "executor-1": [line(1, "run started", run_id=run_id)]})
    misspelt = [await remote.cli("logs", *run, "--service", "executer") for run in ((), (run_id,))]
    assert [(ended.code, ended.out, "did you mean 'executor'?" in ended.err) for ended in misspelt] == [
        (2, "", True)
    ] * 2
    unknown = await remote.cli("logs", run_id, "--service", "nope")
    assert "'nope'; the names are events, executor, executor-1, gateway" in unknown.err
    quiet = await remote.cli("logs", "--service", "executor", "--level", "error")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


async def test_without_the_logs_of_services_there_are_the_events_and_a_word(remote: Remote) -> None:
    run_id = await failed(remote)
    ended = await remote.cli("logs", run_id)
    assert (ended.code, ended.out.count("\n")) == (0, 4)
    assert "only the events of the run: the logs of http://127.0.0.1:" in ended.err
    assert (await remote.cli("logs")).code == 2
    assert (await remote.cli("logs", "last", "--service", "gateway")).out == ""


async def test_without_the_gateway_there_is_what_its_services_have_written(remote: Remote) -> None:
    run_id = await failed(remote)
    write_logs(remote, {"gateway": [line(0, "killed", run_id=run_id), line(1, "other")]})
    await remote.gateway.end()
    ended = await remote.cli("logs", run_id)
    assert (ended.code, ended.out.count("\n"), "killed" in ended.out) == (0, 1, True)
    assert "can't reach Flowyard" in ended.err
    everything = await remote.cli("logs", "--lines", "5")
    assert (everything.code, everything.out.count("\n")) == (0, 2)


async def test_a_run_is_followed_to_its_end(remote: Remote) -> None:
    run_id = (await remote.cli("run", "poem", "-i", "topic=rain", "--detach")).out.strip()
    write_logs(remote, {"executor-1": [line(0, "run started", run_id=run_id)]})
    async with remote.running("logs", run_id, "--follow", "--json") as following:
        claim = await remote.hands.take()
        await remote.hands.step(claim, "draft", {"draft": "x"})
        write(remote.folder / "d" / "logs", "executor-1", line(1, "slow", at=datetime.now(UTC), run_id=run_id))
        await remote.hands.succeed(claim, {})
        ended = await following.ended()
    printed = [json.loads(text)["event"] for text in ended.out.splitlines()]
    assert ended.code == 0
    assert sorted(printed) == sorted(
        ["run.queued", "run started", "step.started", "step.finished", "slow", "run.succeeded"]
    )


async def test_there_is_no_last_run_before_the_first(remote: Remote) -> None:
    ended = await remote.cli("logs", "last")
    assert (ended.code, "there are no runs yet" in ended.err) == (2, True)
