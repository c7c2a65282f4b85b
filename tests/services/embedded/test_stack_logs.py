"""The logs of a stack: services write them themselves, and nothing is lost when a file is full or a process dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path

import pytest

from flowyard.tasks import cancel
from flowyard_cli.logs.files import LogFiles
from flowyard_cli.logs.line import LineFilter
from flowyard_embedded.stack import leash
from flowyard_embedded.stack.log_file import LogFile
from flowyard_embedded.stack.output import Line, Screen, StackOutput
from flowyard_embedded.stack.service import ServiceSpec, SupervisedService
from support.stack import TESTS
from support.waiting import eventually

LIMIT = 20_000
LINES = 500
"""About two files and a half."""


class Shown(Screen):
    """Keeps what it is given to show."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def show(self, text: Line, **_: object) -> None:
        self.lines.append(text if isinstance(text, str) else text())


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def output(tmp_path: Path, shown: Shown) -> Iterator[StackOutput]:
    with closing(StackOutput(tmp_path, shown, as_json=True, width=1, file_limit=LIMIT)) as output:
        yield output


def talker(tmp_path: Path, *, pause_s: float, then: str = "time.sleep(60)") -> ServiceSpec:
    """Counts aloud, then does something else."""
    text = f"""
import os, sys, time
def main():
    for number in range({LINES}):
        print(f"{{number:099}}", file=sys.stderr)
        time.sleep({pause_s})
    {then}
"""
    (tmp_path / "talker.py").write_text(text)
    # That of the tests may name other sources than those that are installed.
    places = (str(tmp_path), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": os.pathsep.join(places), "PATH": os.defpath}
    return ServiceSpec("talker", leash.command(tmp_path, "talker", "talker"), environment, 1, 0, 0.5)


@asynccontextmanager
async def supervised(spec: ServiceSpec, output: StackOutput) -> AsyncIterator[SupervisedService]:
    service = SupervisedService(spec, output, lambda: None)
    tasks = [asyncio.create_task(work) for work in (service.run(), output.watch())]
    try:
        yield service
    finally:
        # The process has ended then: one that is still there would be noticed in another test.
        await cancel(tasks)


@asynccontextmanager
async def followed(folder: Path) -> AsyncIterator[list[str]]:
    """The lines that are logged in the folder, as they come."""
    stop, lines = threading.Event(), list[str]()
    follow = partial(LogFiles(folder).follow, LineFilter(), lambda line: lines.append(line.text), stop)
    following = asyncio.create_task(asyncio.to_thread(follow))
    try:
        yield lines
    finally:
        # Whatever has failed: the process can't end before this thread has.
        stop.set()
        await following


def sizes_of(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob(pattern)}


def whole(folder: Path, pattern: str) -> str:
    return "".join(path.read_text() for path in folder.glob(pattern))


def numbers(lines: list[str]) -> list[int]:
    return [int(line) for line in lines if line.isdigit()]


async def test_full_files_are_put_aside_while_a_service_writes_and_no_line_is_lost(
    tmp_path: Path, output: StackOutput, shown: Shown
) -> None:
    async with followed(tmp_path) as follower, supervised(talker(tmp_path, pause_s=0.005), output):
        await eventually(lambda: len(follower) >= LINES, 30)
        await eventually(lambda: len(shown.lines) >= LINES, 5)
    assert numbers(shown.lines) == numbers(follower) == list(range(LINES))
    sizes = sizes_of(tmp_path, "talker.log*")
    assert sizes.keys() == {"talker.log", "talker.log.1", "talker.log.2"}
    assert all(LIMIT <= sizes[f"talker.log.{number}"] < 2 * LIMIT for number in (1, 2))


async def test_the_last_words_of_a_process_that_dies_are_in_its_log(
    tmp_path: Path, output: StackOutput, shown: Shown
) -> None:
    died = "sys.stderr.write('half a line'); sys.stderr.flush(); os.kill(os.getpid(), 9)"
    async with supervised(talker(tmp_path, pause_s=0, then=died), output):
        await eventually(lambda: any("is started again" in line for line in shown.lines), 10)
    ends = [place for place, line in enumerate(shown.lines) if line == "half a line"]
    assert "has ended by itself" in shown.lines[ends[0] + 1]
    assert output.last_lines("talker")[-1] == "half a line"
    assert "half a line\n" in whole(tmp_path, "talker.log*")


async def test_a_service_ends_when_its_supervisor_is_gone(tmp_path: Path, output: StackOutput) -> None:
    async with supervised(talker(tmp_path, pause_s=0), output) as service:
        await eventually(lambda: output.last_lines("talker"), 10)
        leashed, pid = service._leash, service.status().pid
        assert leashed is not None
        assert pid is not None
        leashed.close()
        await eventually(lambda: service.status().pid != pid, 10)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_file_that_was_to_be_put_aside_when_the_supervisor_was_killed_is_put_aside(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "gateway.log", limit=10)
    os.write(log.descriptor, b"first line\n")
    os.write(log.renewed() or sys.maxsize, b"second line\n")
    log.close()
    assert (tmp_path / "gateway.log").read_text() == "first line\n"
    LogFile(tmp_path / "gateway.log", limit=10).write(b"third line\n")
    texts = [(tmp_path / f"gateway.log{end}").read_text() for end in (".2", ".1")]
    assert texts == ["first line\n", "second line\nthird line\n"]


def test_a_process_may_die_before_it_has_taken_its_new_file(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "gateway.log", limit=10)
    taken = log.descriptor
    os.write(taken, b"a long line\n")
    assert log.renewed() is not None
    os.write(taken, b"half a line")
    log.end_line()
    assert log.new_lines() == log.last_lines(3) == [b"a long line", b"half a line"]
    log.close()


def test_of_earlier_starts_nothing_is_quoted(tmp_path: Path) -> None:
    for words in (b"old", b"new"):
        log = LogFile(tmp_path / "gateway.log")
        assert log.last_lines(3) == []
        os.write(log.descriptor, words + b" 1\n" + words + b" 2\n")
        assert log.last_lines(3) == [words + b" 1", words + b" 2"]
        assert log.last_lines(1) == [words + b" 2"]
        log.close()
