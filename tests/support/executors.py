"""Real executor processes, to be killed, stopped, and given a wrong clock; and the runs that they work on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from flowyard.errors.services import Unavailable
from flowyard.runs.run import Entry, Run
from flowyard.storage.claims import Claims
from flowyard.storage.database import Database, open_database
from flowyard.storage.history import History
from flowyard.storage.moves import Moves
from flowyard.storage.queue import QueueMeasures
from flowyard.storage.runs import Runs
from support import queued
from support.cli import clean_environment
from support.forks import Fork, Order, start
from support.waiting import eventually
from support.wire.behaviour import Text
from support.wire.openai import openai_server
from support.wire.server import Request, Script, WireServer

LEASE_S: Final = 1.0
QUICK: Final = {"LEASE_S": str(LEASE_S), "SWEEP_S": "0.2", "POLL_S": "0.3", "DRAIN_S": "5", "PORT": "0"}
"""Settings with which a lost run is found again in a second or two."""
_LINE_LIMIT: Final = 2**20
_WRONG_CLOCK: Final = Path(__file__).parent / "wrong_clock.py"


@dataclass
class ExecutorProcess:
    """One executor. `lines`: what it has logged so far, as facts."""

    name: str
    process: Process | Fork
    lines: list[dict[str, Any]] = field(default_factory=list)

    def send(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.process.wait()

    async def logged(self, text: str, *, within_s: float = 20) -> dict[str, Any]:
        """The first line whose event holds `text`."""
        result: dict[str, Any] = await eventually(
            lambda: next((line for line in self.lines if text in line["event"]), None), within_s
        )
        return result

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"event": line.decode(errors="replace")})


class Yard:
    """A database with workflows and runs, a model that counts, and executors by the name."""

    def __init__(self, database: Database, environ: Mapping[str, str], model: WireServer) -> None:
        self.database = database
        self.model = model
        self.runs = Runs(database)
        self.queue = QueueMeasures(database)
        self.moves = Moves(database)
        self.history = History(database)
        self.claims = Claims(database, lease_s=LEASE_S)
        self.executors: list[ExecutorProcess] = []
        self._environ = environ
        self._listeners: list[asyncio.Task[None]] = []

    @property
    def urls(self) -> dict[str, str]:
        """Of its servers, as settings of a service."""
        return {name: self._environ[f"FLOWYARD_{name.upper()}"] for name in ("database_url", "nats_url")}

    @property
    def prompts(self) -> Counter[str]:
        """How often the model received each prompt."""
        return Counter(prompt_of(request) for request in self.model.requests)

    async def executor(
        self, name: str, *, clock_off_s: int = 0, python_path: str = "", fresh: bool = False, **settings: str
    ) -> ExecutorProcess:
        """Starts one, and returns when it takes runs. `python_path`: of another release; `fresh`: with its imports."""
        variables = {f"FLOWYARD_{key.upper()}": value for key, value in {**QUICK, **settings}.items()}
        environ = {**self._environ, **variables, "FLOWYARD_EXECUTOR_NAME": name}
        process: Process | Fork
        if clock_off_s:
            process = await _begin(environ, str(_WRONG_CLOCK), "executor", str(clock_off_s))
        elif python_path or fresh:
            path = {"PYTHONPATH": python_path} if python_path else {}
            process = await _begin({**environ, **path}, "-c", "from flowyard_executor.main import main; main()")
        else:
            process = await start("executor", Order([], environ, str(Path.cwd())), merged=True)
        result = ExecutorProcess(name, process)
        self.executors.append(result)
        self._listeners.append(asyncio.create_task(result.listen()))
        await result.logged("listening", within_s=20)
        return result

    async def apply(self, document: str) -> str:
        """The workflow's name. `MODEL` in the document becomes settings that ask the counting model."""
        text = document.replace("MODEL", f"{{provider: hosted_vllm, model: m, api_base: '{self.model.url}'}}")
        return (await queued.apply(self.database, text)).workflow

    async def submit(self, workflow: str, /, max_attempts: int = 5, **inputs: Any) -> UUID:
        return await queued.submit(self.database, workflow, inputs=inputs, max_attempts=max_attempts)

    async def expire(self, run_id: UUID) -> None:
        """As if the run's lease had been over for a second."""
        await self.database.execute("UPDATE claims SET lease_until = now() - interval '1 s' WHERE run_id = $1", run_id)

    async def ended(self, run_id: UUID, *, within_s: float = 30) -> Run:
        async def look() -> Run | None:
            try:
                return await self.runs.get_ended(run_id)
            except Unavailable:
                return None

        ended: Run = await eventually(look, within_s)
        return ended

    async def entries(self, run_id: UUID) -> list[Entry]:
        return await self.history.entries(run_id)

    async def steps_done(self, run_id: UUID, count: int) -> None:
        """Returns when so many of the run's steps are on disk."""

        async def look() -> bool:
            return sum(step.has_ended for step in await self.history.steps(run_id)) >= count

        await eventually(look)

    async def recorded(self, run_id: UUID, kind: str, node: str, *, times: int = 1) -> None:
        """Returns when so many such entries are on disk."""

        async def look() -> bool:
            entries = await self.entries(run_id)
            return sum((entry.type, entry.data.get("node")) == (kind, node) for entry in entries) >= times

        await eventually(look)

    async def close(self) -> None:
        for executor in self.executors:
            executor.send(signal.SIGCONT)
            executor.send(signal.SIGKILL)
            await executor.process.wait()
        await asyncio.gather(*self._listeners)


async def _begin(environ: Mapping[str, str], *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environ, stdout=PIPE, stderr=STDOUT, limit=_LINE_LIMIT
    )


@asynccontextmanager
async def open_yard(database_url: str, nats_url: str, replies: Script = lambda _: Text("done")) -> AsyncIterator[Yard]:
    environ = {**os.environ, "FLOWYARD_DATABASE_URL": database_url, "FLOWYARD_NATS_URL": nats_url}
    async with open_database(database_url, service="tests") as database, openai_server(replies) as model:
        yard = Yard(database, environ, model)
        try:
            yield yard
        finally:
            await yard.close()


def prompt_of(request: Request) -> str:
    return str(request.body["messages"][-1]["content"])


@asynccontextmanager
async def plain_executor(database_url: str, nats_url: str) -> AsyncIterator[None]:
    """One with the settings that users have, for a test that does not end it on purpose."""
    env = clean_environment() | {
        "FLOWYARD_DATABASE_URL": database_url,
        "FLOWYARD_NATS_URL": nats_url,
        "FLOWYARD_PORT": "0",
        "FLOWYARD_DRAIN_S": "0",
        "OPENAI_API_KEY": "sk-test",
    }
    executor = await start("executor", Order([], env, str(Path.cwd())))
    try:
        yield
    finally:
        executor.send_signal(signal.SIGTERM)
        await asyncio.wait_for(executor.communicate(), 10)
