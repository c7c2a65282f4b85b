"""Kills and freezes processes of the campaign's own stack, by a plan that follows from a seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from flowyard_embedded.stack.state import StackState, read_state

Kind: TypeAlias = Literal["kill", "freeze"]
SERVERS: Final = ("postgres", "nats", "gateway")
_HEALTHY_WITHIN_S: Final = 60.0
_RIGHT_AFTER_S: Final = 0.2
_AT_WORK_S: Final = 3.0
"""For so long a process that was killed is healthy again before the next blow: a late plan would leave it no time."""


@dataclass(frozen=True)
class Blow:
    """What is to happen to a process, so many seconds after the beginning. `lasts_s`: of a freeze.

    `also`: an executor that is killed right after the process, while its results can't be stored.
    """

    at_s: float
    kind: Kind
    process: str
    lasts_s: float = 0.0
    also: str | None = None


@dataclass(frozen=True)
class Struck:
    """What has happened. Times in seconds since 1970; `until`: when a frozen process went on."""

    kind: Kind
    process: str
    at: float
    until: float


def plan(
    rng: random.Random,
    *,
    seconds: float,
    executors: Sequence[str],
    kills: int,
    freezes: int,
    each_server: int,
    lease_s: float,
) -> list[Blow]:
    """The blows in the order of their times, evenly spread over the seconds, up to some chance.

    Each executor is killed and frozen in turns, so that it is at work for a while before each of them. `kills` includes
    those right after Postgres is killed.
    """
    also_killed = [rng.choice(executors) for _ in range(each_server)]
    blows = []
    for place, process in enumerate(executors):
        kinds = _mixed(_part(kills - each_server, place, len(executors)), _part(freezes, place, len(executors)))
        for number, kind in enumerate(kinds):
            at_s = (number + place / len(executors) + rng.uniform(0, 0.5)) * seconds / len(kinds)
            lasts_s = lease_s * rng.uniform(1.2, 1.8) if kind == "freeze" else 0.0
            blows.append(Blow(at_s, kind, process, lasts_s))
    servers = [name for _ in range(each_server) for name in SERVERS]
    for number, name in enumerate(servers):
        at_s = (number + rng.uniform(0.3, 0.7)) * seconds / len(servers)
        also = also_killed[number // len(SERVERS)] if name == "postgres" else None
        blows.append(Blow(at_s, "kill", name, also=also))
    return sorted(blows, key=lambda blow: blow.at_s)


def _part(total: int, place: int, parts: int) -> int:
    """How many of them fall to this part, when all parts get the same, or nearly."""
    return total * (place + 1) // parts - total * place // parts


def _mixed(kills: int, freezes: int) -> list[Kind]:
    """So many of both, evenly mixed."""
    total = kills + freezes
    return ["kill" if (n + 1) * kills // total > n * kills // total else "freeze" for n in range(total)]


@dataclass
class Havoc:
    """Carries out a plan. `struck`: what has been done so far."""

    data: Path
    blows: Sequence[Blow]
    struck: list[Struck] = field(default_factory=list)

    async def run(self) -> None:
        begun = time.monotonic()
        by_process: dict[str, list[Blow]] = {}
        for blow in self.blows:
            by_process.setdefault(blow.process, []).append(blow)
        async with asyncio.TaskGroup() as tasks:
            for blows in by_process.values():
                tasks.create_task(self._run_one_after_the_other(blows, begun))

    @property
    def share_done(self) -> float:
        return len(self.struck) / max(1, len(self.blows))

    async def _run_one_after_the_other(self, blows: Sequence[Blow], begun: float) -> None:
        for blow in blows:
            await asyncio.sleep(max(0.0, begun + blow.at_s - time.monotonic()))
            await self._strike(blow)
            if blow.kind == "kill":
                await self._healthy(blow.process)
                await asyncio.sleep(_AT_WORK_S)

    async def _strike(self, blow: Blow) -> None:
        pid = await self._healthy(blow.process)
        at = time.time()
        if blow.kind == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(blow.lasts_s)
            finally:
                if self._is_ours(pid, blow.process):
                    os.kill(pid, signal.SIGCONT)
        self.struck.append(Struck(blow.kind, blow.process, at, time.time()))
        if blow.also is not None:
            await asyncio.sleep(_RIGHT_AFTER_S)
            await self._strike(Blow(blow.at_s, "kill", blow.also))

    async def _healthy(self, process: str) -> int:
        """The process id, as soon as the process is healthy."""
        deadline = time.monotonic() + _HEALTHY_WITHIN_S
        while time.monotonic() < deadline:
            for status in _state(self.data).processes:
                is_up = status.name == process and status.state != "starting"
                if is_up and status.pid is not None and self._is_ours(status.pid, process):
                    return status.pid
            await asyncio.sleep(0.05)
        raise RuntimeError(f"{process} isn't healthy again after {_HEALTHY_WITHIN_S:g} s")

    def _is_ours(self, pid: int, process: str) -> bool:
        """Whether it is this process of this stack, and no other that has got its number meanwhile."""
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return False
        wanted = "nats-server" if process == "nats" else process
        return str(self.data) in line and wanted in line


def everything_is_healthy(data: Path) -> bool:
    return all(status.state == "healthy" for status in _state(data).processes)


def starts(data: Path) -> Mapping[str, int]:
    """How often each process has been started."""
    return {status.name: status.starts for status in _state(data).processes}


def _state(data: Path) -> StackState:
    state = read_state(data / "stack.json")
    if state is None:
        raise RuntimeError("the stack has no stack.json")
    return state
