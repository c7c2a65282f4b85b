"""A gateway and a registry in the test's own process, and the command line that talks to them from its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowyard.bus.connection import open_bus
from flowyard.storage.database import Database, open_database
from flowyard.storage.keys import Keys
from flowyard_gateway.main import run_gateway
from flowyard_gateway.settings import GatewaySettings
from flowyard_registry.main import run_registry
from flowyard_registry.settings import RegistrySettings
from support import stories
from support.cli import Ended, begin_flowyard, flowyard, in_process
from support.forks import Fork
from support.hands import Hands, working_hands

WITHIN_S = 10.0
POEM = stories.POEM.replace("MODEL", "{provider: scripted}")


@dataclass
class Door:
    """A service that runs, and can be ended and begun again on the same port."""

    start: Any
    port: int = 0
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._ending = asyncio.Event()
        listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self.start(self.port, self._ending, listening.set_result))
        both: list[asyncio.Future[Any]] = [self._task, listening]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        self.port = listening.result()

    async def end(self) -> None:
        self._ending.set()
        if self._task is not None:
            await self._task

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Remote:
    """`folder`: where commands run, with `poem.yaml` in it. `key`: of one who may do everything."""

    gateway: Door
    registry: Door
    hands: Hands
    database: Database
    folder: Path
    key: str

    @property
    def environment(self) -> dict[str, str]:
        return {"FLOWYARD_URL": self.gateway.url, "FLOWYARD_API_KEY": self.key, "FLOWYARD_DATA": str(self.folder / "d")}

    async def cli(self, *args: str, **env: str) -> Ended:
        """One command, to its end. In this process, which is quicker; one at a time."""
        return await asyncio.to_thread(in_process, args, {**self.environment, **env}, self.folder)

    async def applied(self) -> None:
        """The workflow `poem` is there."""
        ended = await self.cli("apply", "poem.yaml")
        assert ended.code == 0, ended.err

    async def process(self, *args: str, **env: str) -> Ended:
        """One command, to its end, as its user has it."""
        given = {**self.environment, **env}
        return await asyncio.to_thread(flowyard, *args, cwd=self.folder, env=given)

    @asynccontextmanager
    async def running(self, *args: str) -> AsyncIterator[Running]:
        """A command that has begun."""
        process = await begin_flowyard(*args, cwd=self.folder, env=self.environment)
        running = Running(process)
        try:
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@dataclass
class Running:
    """`err`: what it has written to standard error, as far as it was read."""

    process: Fork
    err: str = ""

    async def says(self, text: str) -> None:
        """Reads until standard error holds the text."""
        async with asyncio.timeout(WITHIN_S):
            while text not in self.err:
                more = await self.process.stderr.read(4096)
                assert more, f"it ended without saying '{text}': {self.err}"
                self.err += more.decode()

    async def ended(self) -> Ended:
        async with asyncio.timeout(WITHIN_S):
            out, err = await self.process.communicate()
        self.err += err.decode()
        assert "Traceback" not in self.err, self.err
        return Ended(await self.process.wait(), out.decode(), self.err)


@asynccontextmanager
async def open_remote(database_url: str, nats_url: str, folder: Path) -> AsyncIterator[Remote]:
    common = {"database_url": database_url, "nats_url": nats_url, "grace_s": 1}
    (folder / "poem.yaml").write_text(POEM)

    async def registry(port: int, ending: asyncio.Event, listening: Any) -> None:
        settings = RegistrySettings.model_validate({**common, "port": port})
        await run_registry(settings, ending, on_listening=listening)

    async def gateway(port: int, ending: asyncio.Event, listening: Any) -> None:
        given = {**common, "port": port, "registry_url": behind.url}
        await run_gateway(GatewaySettings.model_validate(given), ending, on_listening=listening)

    behind, door = Door(registry), Door(gateway)
    connected = asyncio.Event()
    async with (
        open_database(database_url, service="test") as database,
        open_bus(nats_url, name="test", on_connect=connected.set) as bus,
        working_hands(database, bus) as hands,
    ):
        await connected.wait()
        key = (await Keys(database).create("test", frozenset({"admin"})))[1]
        await behind.begin()
        await door.begin()
        try:
            yield Remote(door, behind, hands, database, folder, key)
        finally:
            await door.end()
            await behind.end()
