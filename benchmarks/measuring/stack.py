"""A stack of `flowyard up` in a directory of its own: starts it, submits runs to it, and reads what it has used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import psutil  # type: ignore[import-untyped]

from flowyard_embedded.servers.cluster import SUPERUSER
from flowyard_embedded.stack.state import StackState, read_state
from measuring.floors import TOPIC
from measuring.model import Model

FLOWYARD: Final = Path(sys.executable).with_name("flowyard")
PROVIDER: Final = "hosted_vllm"
CHAIN: Final = """
flow: {name: chain}
state: {fields: {topic: {type: str, required: true}, plan: str, draft: str, final: str}}
nodes:
  - {id: think, prompt: "Plan {topic}.", outputs: [plan]}
  - {id: write, prompt: "Write {plan}.", outputs: [draft]}
  - {id: polish, prompt: "Polish {draft}.", outputs: [final]}
config:
  llm: {provider: PROVIDER, model: m, api_base: "URL"}
"""
SERVICES: Final = ("registry", "executor", "gateway", "dashboard")
_START_S: Final = 60
_LONGEST_RUN_S: Final = 120
_URL: Final = "FLOWYARD_DATABASE_URL"


class Failed(Exception):
    """What is measured doesn't start or doesn't do its work. The measurement ends."""


@dataclass(frozen=True)
class Stack:
    """`took_s`: until everything was healthy."""

    data: Path
    url: str
    key: str
    took_s: float

    @property
    def pids(self) -> dict[str, int]:
        """Of its processes, by their names."""
        return {process.name: process.pid for process in self._state().processes if process.pid is not None}

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each service."""
        services = {name: pid for name, pid in self.pids.items() if name.partition("-")[0] in SERVICES}
        return {name: sum(_resident(process) for process in _family(pid)) / 1e6 for name, pid in services.items()}

    def cpu_s(self) -> dict[str, float]:
        """CPU time of each process, those that it has started included, and of the supervisor."""
        times = {name: cpu_s(pid) for name, pid in self.pids.items()}
        return {**times, "supervisor": _cpu(psutil.Process(self._state().pid))}

    def database_url(self) -> str:
        """Of the stack's own Postgres, as its superuser: the services' roles may vacuum nothing."""
        pid = next(pid for name, pid in self.pids.items() if name.startswith("executor"))
        environments = [process.environ() for process in _family(pid)]
        theirs = urlsplit(next(each[_URL] for each in environments if _URL in each))
        password = (self.data / "postgres" / "password").read_text(encoding="utf-8")
        return str(theirs._replace(netloc=f"{SUPERUSER}:{password}@{theirs.hostname}:{theirs.port}").geturl())

    def _state(self) -> StackState:
        state = read_state(self.data / "stack.json")
        assert state is not None
        return state


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that other users may enter: Postgres doesn't run as root."""
    folder = Path(tempfile.mkdtemp(prefix="flowyard-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(data: Path, executors: int = 1, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Stack]:
    """Ends everything that it has started. `settings`: environment variables of the stack."""
    started = time.perf_counter()
    command = [str(FLOWYARD), "up", "--data", str(data), "--port", "0", "--executors", str(executors)]
    environment = {**os.environ, **settings}
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, env=environment)
    try:
        while not _is_up(data, process.pid):
            if process.poll() is not None or time.perf_counter() - started > _START_S:
                raise Failed(f"the stack doesn't start: see {data}/logs")
            time.sleep(0.02)
        took_s = time.perf_counter() - started
        state = json.loads((data / "cli.json").read_text())
        yield Stack(data, state["url"], state["key"], took_s)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


class Client:
    """Submits runs of the chain over HTTP and waits for their results."""

    def __init__(self, session: aiohttp.ClientSession, stack: Stack) -> None:
        self._session = session
        self._url = stack.url
        self._headers = {"Authorization": f"Bearer {stack.key}"}

    async def apply(self, model: Model) -> None:
        document = CHAIN.replace("URL", model.url).replace("PROVIDER", PROVIDER)
        headers = {**self._headers, "Content-Type": "application/yaml"}
        where = f"{self._url}/v1/workflows/chain"
        async with self._session.put(where, data=document, headers=headers) as answer:
            if answer.status not in (200, 201):
                raise Failed(f"apply failed: {answer.status} {await answer.text()}")

    async def run(self) -> Any:
        """The run, which has succeeded."""
        run = await self._submit(_LONGEST_RUN_S)
        if run["status"] != "succeeded":
            raise Failed(f"a run failed: {run}")
        return run

    async def submit(self) -> None:
        """And doesn't wait."""
        await self._submit(0)

    async def events(self, run_id: str) -> Any:
        where = f"{self._url}/v1/runs/{run_id}/events"
        async with self._session.get(where, headers=self._headers) as answer:
            return (await answer.json())["items"]

    async def _submit(self, wait_s: int) -> Any:
        where = f"{self._url}/v1/workflows/chain/runs?wait={wait_s}"
        async with self._session.post(where, json={"inputs": {"topic": TOPIC}}, headers=self._headers) as answer:
            run = await answer.json()
            if answer.status not in (200, 202):
                raise Failed(f"a run wasn't accepted: {answer.status} {run}")
            return run


def cpu_s(pid: int) -> float:
    """CPU time of a process and of those that it has started."""
    return sum(map(_cpu, _family(pid)))


async def database_bytes(url: str, *, compact: bool = False) -> int:
    """The size of a database. `compact`: after a full vacuum, which leaves only live rows in its files."""
    connection = await asyncpg.connect(url)
    try:
        if compact:
            await connection.execute("VACUUM FULL")
        return int(await connection.fetchval("SELECT pg_database_size(current_database())"))
    finally:
        await connection.close()


def _is_up(data: Path, pid: int) -> bool:
    """A directory that was used before has the state of its last stack."""
    state = read_state(data / "stack.json")
    return state is not None and state.pid == pid and state.phase == "running"


def _family(pid: int) -> list[psutil.Process]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss) if "flowyard" in " ".join(process.cmdline()) else 0


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
