"""A service in a process of its own, whose memory and event loop a test measures."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.executors import ExecutorProcess
from support.watched import HELD

_MB: Final = 1024
_WATCHED: Final = Path(__file__).parent / "watched.py"


@dataclass(frozen=True)
class ServiceProcess:
    """`port`: where it listens."""

    running: ExecutorProcess
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory_mb(self) -> int:
        """Its resident memory."""
        return self._status("VmRSS")

    @property
    def most_memory_mb(self) -> int:
        """The most that it ever had."""
        return self._status("VmHWM")

    @property
    def longest_held_s(self) -> float:
        """The longest time for which its event loop couldn't run."""
        return max((line["held_s"] for line in self.running.lines if line["event"] == HELD), default=0.0)

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.running.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith(name)) // _MB


@asynccontextmanager
async def service_process(
    service: str, *, database_url: str, nats_url: str, environ: Mapping[str, str] | None = None, **settings: Any
) -> AsyncIterator[ServiceProcess]:
    """`service`: such as `gateway`; `settings`: its own; `environ`: other variables."""
    given = {"database_url": database_url, "nats_url": nats_url, "port": "0", **settings}
    own = {f"FLOWYARD_{name.upper()}": str(value) for name, value in given.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_WATCHED),
        service,
        env={**os.environ, **own, **(environ or {})},
        stdout=PIPE,
        stderr=STDOUT,
        limit=2**20,
    )
    running = ExecutorProcess(service, process)
    listening = asyncio.create_task(running.listen())
    try:
        yield ServiceProcess(running, (await running.logged("listening", within_s=60))["port"])
    finally:
        await running.kill()
        await listening
