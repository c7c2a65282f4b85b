"""Pools of workers of the sandbox for tests, and jobs for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest

from flowyard_sandbox.jobs import CodeAnswer, CodeJob
from flowyard_sandbox.pool import Pool, WorkerKind, open_pool
from flowyard_sandbox.python_wasm import compile_python, find_compiled, find_python

TIERS: Final = ("fast", "full")
MIB: Final = 1 << 20


def compiled_python() -> Path:
    """`make setup` has compiled it, in a checkout that was set up as the README says."""
    python = find_python()
    if python is None:
        pytest.fail("the Python of code steps isn't installed: run `make setup`")
    return find_compiled(python, python.parent) or compile_python(python, python.parent)


def worker_kind(tier: str, *, jobs: int = 1000) -> WorkerKind:
    files: Sequence[str] = [str(compiled_python())] if tier == "full" else []
    return WorkerKind(tier=tier, files=files, memory=1024 * MIB, jobs=jobs)


def job(
    code: str,
    inputs: dict[str, Any] | None = None,
    *,
    timeout: float = 20.0,
    memory: int = 128 * MIB,
    log: int = 10_000,
    result: int = 100_000,
) -> CodeJob:
    return CodeJob(code=code, inputs=json.dumps(inputs or {}), timeout=timeout, memory=memory, log=log, result=result)


class Workers:
    """A pool in an event loop of its own, for many tests of a file."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, kind: WorkerKind) -> None:
        self._loop = loop
        self.kind = kind
        self.pool = pool

    def run(self, work: CodeJob) -> CodeAnswer:
        return asyncio.run_coroutine_threadsafe(self.pool.run(work), self._loop).result()


@contextmanager
def running_pool(kind: WorkerKind, *, size: int = 1) -> Iterator[Workers]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    opened = open_pool(kind, size=size)
    try:
        pool = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result()
        yield Workers(loop, pool, kind)
        asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
