"""The jobs of this sandbox: takes them by NATS, lets their senders follow them, drops those that nobody follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

from flowyard.bus.code_messages import CodeFollow, CodeRequest, CodeState, CodeStop
from flowyard.language.code_bounds import CodeBounds
from flowyard.language.nodes import CodeLimits, CodeTier
from flowyard.telemetry.metrics import SandboxMetrics
from flowyard_sandbox.jobs import CodeAnswer, CodeJob, failure
from flowyard_sandbox.pool import Pool

FIRST_ANSWER_S: Final = 0.5
NEXT_ANSWER_S: Final = 2.0
"""How long a question is kept: shorter than whoever asks waits, see `service/sandboxes.py`."""
FORGOTTEN_S: Final = 10.0
"""Without a question for so long, the sender is gone, and so is the job."""
LOG: Final = 10_000
"""Most characters of what an execution prints."""
_MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
_MIB: Final = 1 << 20
_LOOK_S: Final = 1.0


@dataclass
class _Entry:
    """A job that was accepted. `requested_at`: when its sender last requested its state."""

    tier: CodeTier
    size: int
    work: asyncio.Task[CodeAnswer]
    requested_at: float
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_running(self) -> bool:
        return self.started.is_set()


@dataclass
class Desk:
    """`sandbox`: the id of this process. `queue`: most jobs that wait. `faults`: tiers that can't work, and why."""

    sandbox: str
    pools: Mapping[CodeTier, Pool]
    bounds: CodeBounds
    queue: int
    metrics: SandboxMetrics
    faults: dict[CodeTier, str] = field(default_factory=dict)
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _is_closed: bool = False

    @property
    def waiting(self) -> int:
        return sum(not entry.is_running for entry in self._entries.values())

    @property
    def running(self) -> int:
        return sum(pool.running for pool in self.pools.values())

    async def accept(self, request: CodeRequest) -> CodeState:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        self._entries[request.job] = entry = self._start(request)
        return await self._state(request.job, entry, FIRST_ANSWER_S)

    async def follow(self, question: CodeFollow) -> CodeState:
        entry = self._entries.get(question.job)
        if entry is None:
            return CodeState(sandbox=self.sandbox, state="gone")
        entry.requested_at = time.monotonic()
        if entry.is_running:
            return await self._state(question.job, entry, NEXT_ANSWER_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(NEXT_ANSWER_S):
                await entry.started.wait()
        return await self._state(question.job, entry, 0)

    async def stop(self, message: CodeStop) -> None:
        self._drop(message.job)

    async def drop_forgotten(self) -> NoReturn:
        while True:
            await asyncio.sleep(_LOOK_S)
            oldest = time.monotonic() - FORGOTTEN_S
            for job in [job for job, entry in self._entries.items() if entry.requested_at < oldest]:
                self._drop(job)

    async def close(self, *, within_s: float) -> None:
        """Takes no more jobs. Those that wait go elsewhere; those at work have so many seconds to end."""
        self._is_closed = True
        for job in [job for job, entry in self._entries.items() if not entry.is_running]:
            self._drop(job)
        if self._entries:
            await asyncio.wait([entry.work for entry in self._entries.values()], timeout=within_s)
        for job in [job for job, entry in self._entries.items() if not entry.work.done()]:
            self._drop(job)

    def _refusal(self, request: CodeRequest) -> CodeState | None:
        limits = CodeLimits(request.tier, request.timeout, request.memory_mb)
        if wrong := [why for _, why in self.bounds.refusals(limits)]:
            return self._ended(failure("; ".join(wrong)))
        if request.tier in self.faults:
            return self._ended(failure(self.faults[request.tier]))
        size = sum(entry.size for entry in self._entries.values()) if self.waiting else 0
        if self._is_closed or self.waiting >= self.queue or size > _MOST_WAITING_BYTES:
            self.metrics.refused.inc()
            return CodeState(sandbox=self.sandbox, state="busy")
        return None

    def _start(self, request: CodeRequest) -> _Entry:
        job = CodeJob(
            code=request.code,
            inputs=request.inputs,
            timeout=request.timeout,
            memory=request.memory_mb * _MIB,
            log=LOG,
            result=request.result,
        )
        work = asyncio.create_task(self._execute(request.job, job))
        return _Entry(request.tier, len(request.code) + len(request.inputs), work, time.monotonic())

    async def _execute(self, name: str, job: CodeJob) -> CodeAnswer:
        entry = self._entries[name]
        entered = begun = time.monotonic()

        def start() -> None:
            nonlocal begun
            begun = time.monotonic()
            entry.started.set()
            self.metrics.wait.labels(entry.tier).observe(begun - entered)

        answer = await self.pools[entry.tier].run(job, on_start=start)
        self.metrics.jobs.labels(entry.tier, answer.ending).inc()
        self.metrics.duration.labels(entry.tier).observe(time.monotonic() - begun)
        return answer

    async def _state(self, job: str, entry: _Entry, within_s: float) -> CodeState:
        """What has become of it, at the latest after `within_s`."""
        await asyncio.wait({entry.work}, timeout=within_s)
        if not entry.work.done():
            return CodeState(sandbox=self.sandbox, state="running" if entry.is_running else "waiting")
        self._entries.pop(job, None)
        if entry.work.cancelled():
            return CodeState(sandbox=self.sandbox, state="gone")
        return self._ended(entry.work.result())

    def _ended(self, answer: CodeAnswer) -> CodeState:
        return CodeState(
            sandbox=self.sandbox,
            state="ended",
            ending=answer.ending,
            error=_utf8(answer.error),
            line=answer.line,
            cut=answer.cut,
            result=_utf8(answer.result),
            log=_utf8(answer.log),
        )

    def _drop(self, job: str) -> None:
        entry = self._entries.pop(job, None)
        if entry is not None:
            entry.work.cancel()
            entry.started.set()


def _utf8(text: str) -> str:
    """Code can print what UTF-8 can't hold: halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode()
