"""Worker processes that are kept ready: each executes one job at a time, in the order in which jobs have come."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from flowyard_sandbox.frames import encode, receive_from
from flowyard_sandbox.jobs import CodeAnswer, CodeJob, Ending, checked_result

_START_S: Final = 60.0
_GRACE_S: Final = 1.0
"""A job that is longer at work than its timeout and this has hung, and so has its worker."""
_PAUSE_S: Final = 1.0
"""Between two tries to start a worker that doesn't start."""
_MOST_ERROR: Final = 2_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerKind:
    """How a worker is started. `files`: of its tier. `memory`: bytes that it may use in all.

    `cpu_s`: seconds of CPU time in its life. `jobs`: how many it executes before it is replaced.
    """

    tier: str
    files: Sequence[str] = ()
    memory: int
    cpu_s: int = 600
    jobs: int = 1000


class WorkerBroken(Exception):
    """A worker didn't start, or has ended."""


class Worker:
    """Made by `start_worker`. `landlock`, `seccomp`: see Confinement."""

    def __init__(
        self, process: asyncio.subprocess.Process, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        self.process = process
        self._reader, self._writer = streams
        self.landlock = 0
        self.seccomp = False

    async def ready(self) -> None:
        """Raises WorkerBroken."""
        message = await self._receive()
        if "broken" in message:
            raise WorkerBroken(str(message["broken"])[:_MOST_ERROR])
        self.landlock, self.seccomp = int(message["landlock"]), bool(message["seccomp"])

    async def answer(self, job: CodeJob) -> CodeAnswer:
        """Raises WorkerBroken, and TimeoutError if the worker hangs."""
        try:
            async with asyncio.timeout(job.timeout + _GRACE_S):
                self._writer.write(encode(job.encoded()))
                await self._writer.drain()
                return _checked(await self._receive(), job)
        except ConnectionError as error:
            raise WorkerBroken(str(error)) from error

    async def _receive(self) -> dict[str, Any]:
        try:
            return await receive_from(self._reader)
        except (EOFError, ConnectionError, ValueError) as error:
            raise WorkerBroken(f"the worker has ended: {error}") from error

    async def end(self) -> None:
        """Kills it, with what it has started. Waits for its end also if it is cancelled."""
        self._writer.close()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        ending = asyncio.ensure_future(self.process.wait())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending
            raise


async def start_worker(kind: WorkerKind) -> Worker:
    """Raises WorkerBroken."""
    opening = asyncio.ensure_future(_open_worker(kind))
    try:
        worker = await asyncio.shield(opening)
    except asyncio.CancelledError:
        await (await opening).end()
        raise
    try:
        async with asyncio.timeout(_START_S):
            await worker.ready()
    except BaseException as error:
        await worker.end()
        if isinstance(error, TimeoutError):
            raise WorkerBroken(f"the worker wasn't ready after {_START_S:g} s") from error
        raise
    return worker


async def _open_worker(kind: WorkerKind) -> Worker:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-I", "-B", "-m", "flowyard_sandbox.worker", kind.tier, str(theirs.fileno())]
        process = await asyncio.create_subprocess_exec(
            *command, str(kind.memory), str(kind.cpu_s), *kind.files,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            pass_fds=[theirs.fileno()], env={}, cwd="/", start_new_session=True,
        )  # fmt: skip
    return Worker(process, await asyncio.open_connection(sock=ours))


def _checked(message: dict[str, Any], job: CodeJob) -> CodeAnswer:
    """The answer of a worker, which may have been taken over by the code that it executes."""
    ending, line, cut = message.get("ending"), message.get("line"), message.get("cut")
    if ending not in get_args(Ending):
        raise WorkerBroken("the worker has sent something else than an answer")
    answer = CodeAnswer(
        cast("Ending", ending),
        error=str(message.get("error", ""))[:_MOST_ERROR],
        line=line if isinstance(line, int) else None,
        log=str(message.get("log", ""))[: job.log],
        cut=cut if isinstance(cut, int) else 0,
        is_spent=bool(message.get("is_spent")),
    )
    return answer.as_result(checked_result(str(message.get("result")), job.result)) if ending == "done" else answer


@dataclass(frozen=True)
class _Waiting:
    job: CodeJob
    future: asyncio.Future[CodeAnswer]
    on_start: Callable[[], None]


class Pool:
    """Made by `open_pool`. `fault`: why no worker starts; None: they do. `worker`: the one that has started last.

    `workers`: how many are there. `running`: how many jobs are at work. `on_replaced`: called when a worker has died or
    was ended for what it did.
    """

    def __init__(self, kind: WorkerKind, size: int, on_replaced: Callable[[], None]) -> None:
        self._kind = kind
        self._on_replaced = on_replaced
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._size = size
        self._awake = 0
        self._wake = asyncio.Semaphore(0)
        self.fault: str | None = None
        self.worker: Worker | None = None
        self.running = 0
        self.workers = 0

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    async def run(self, job: CodeJob, *, on_start: Callable[[], None] = lambda: None) -> CodeAnswer:
        """Waits for its turn. If it is cancelled, nothing of the job goes on."""
        waiting = _Waiting(job, asyncio.get_running_loop().create_future(), on_start)
        self._queue.put_nowait(waiting)
        if self._queue.qsize() + self.running > self._awake:
            self.start_another()
        return await waiting.future

    def start_another(self) -> None:
        """Unless all have been started."""
        if self._awake < self._size:
            self._awake += 1
            self._wake.release()

    async def keep_worker(self) -> None:
        """Keeps one worker at work until it is cancelled, from when it is needed first."""
        await self._wake.acquire()
        while True:
            try:
                worker = await start_worker(self._kind)
            except WorkerBroken as error:
                self.fault = str(error)
                _log.error(
                    "a worker of the sandbox doesn't start", extra={"tier": self._kind.tier, "error": self.fault}
                )
                self._give_up_waiting(self.fault)
                await asyncio.sleep(_PAUSE_S)
                continue
            self.fault, self.worker = None, worker
            self.workers += 1
            try:
                await self._execute(worker)
            finally:
                self.workers -= 1
                await worker.end()

    def _give_up_waiting(self, why: str) -> None:
        """Unless another worker is there, nobody would ever execute what waits."""
        while not self.workers and not self._queue.empty():
            future = self._queue.get_nowait().future
            if not future.done():
                future.set_result(CodeAnswer("crashed", error=f"no worker starts: {why}"))

    async def _execute(self, worker: Worker) -> None:
        """Until the worker should be replaced."""
        for _ in range(self._kind.jobs):
            waiting = await self._queue.get()
            if waiting.future.done():  # nobody waits for it any more
                continue
            waiting.on_start()
            self.running += 1
            try:
                answer = await _answer_unless_given_up(worker, waiting)
            finally:
                self.running -= 1
            if answer is None:
                return
            if not waiting.future.done():
                waiting.future.set_result(answer)
            if answer.is_spent:
                self._on_replaced()
                return


async def _answer_unless_given_up(worker: Worker, waiting: _Waiting) -> CodeAnswer | None:
    """None: nobody waits for the job any more. The worker is still at it, and can do nothing else."""
    answering = asyncio.ensure_future(_answer(worker, waiting.job))
    try:
        await asyncio.wait({answering, waiting.future}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not answering.done():
            answering.cancel()
    return answering.result() if answering.done() and not answering.cancelled() else None


async def _answer(worker: Worker, job: CodeJob) -> CodeAnswer:
    try:
        return await worker.answer(job)
    except TimeoutError:
        return CodeAnswer("timeout", is_spent=True)
    except WorkerBroken as error:
        return CodeAnswer("crashed", error=str(error), is_spent=True)


@asynccontextmanager
async def open_pool(
    kind: WorkerKind, *, size: int, on_replaced: Callable[[], None] = lambda: None
) -> AsyncIterator[Pool]:
    """Workers start when there are jobs for them, and stay."""
    pool = Pool(kind, size, on_replaced)
    keepers = [asyncio.create_task(pool.keep_worker()) for _ in range(size)]
    try:
        yield pool
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
