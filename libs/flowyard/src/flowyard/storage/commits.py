"""Group commit: one statement writes the commits of many runs of one process.

Each commit carries its run's claim. If that claim is lost, nothing of the commit is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from uuid import UUID

import asyncpg

from flowyard.errors.runs import ClaimLost, CommitRefused
from flowyard.errors.services import Unavailable
from flowyard.runs.events import StepId
from flowyard.runs.run import Step
from flowyard.storage.database import Database
from flowyard.storage.rows import CALL_COLUMNS, STEP_COLUMNS, STEP_TEXTS, CallRow, call_values, step_values

log = logging.getLogger(__name__)

COMMIT: Final = (Path(__file__).parent / "commit.sql").read_text()
MOST_RUNS: Final = 64
"""How many runs one statement writes at most."""
MOST_CHARACTERS: Final = 16_000_000
"""A statement with this many characters of JSON gets no more commits: it needs several times as much memory."""
_HAS_EVENTS: Final = "SELECT EXISTS (SELECT FROM events WHERE run_id = $1 AND seq = $2 AND entries::text = $3)"
_PAUSE_S: Final = 0.1
"""Between tries while Postgres is away."""

Values = tuple[Any, ...]


@dataclass(slots=True)
class RunCommit:
    """One commit of one run. `entries`: its events, as `packing` stores them; `last_seq`: the number of the last one.

    `status`: None unless the claim ends: the run ends, with `outputs` and `error` as JSON, or is `queued` for another
    claim, or `waiting` for so many seconds before. `snapshot`: of the run, as JSON, in place of an earlier one.

    `step_deadline`: the earliest of its steps at work. `spent_…`: of its budget, by all calls that have ended; None: it
    has none. `steps` and `calls`: the last state of each that has changed.
    """

    run_id: UUID
    epoch: int
    last_seq: int
    entries: str | None = None
    status: str | None = None
    outputs: str | None = None
    error: str | None = None
    wait_s: float | None = None
    snapshot: str | None = None
    step_deadline: datetime | None = None
    spent_usd: Decimal | None = None
    spent_tokens: int | None = None
    spent_calls: int | None = None
    steps: dict[StepId, Values] = field(default_factory=dict, init=False)
    calls: dict[tuple[StepId, int], Values] = field(default_factory=dict, init=False)
    _row_characters: int = field(default=0, init=False)

    def add_step(self, step: Step) -> None:
        """Raises CommitRefused for outputs that JSON can't hold."""
        self.steps[step.id] = values = step_values(self.run_id, step)
        self._row_characters += _characters(values[-STEP_TEXTS:])

    def add_call(self, row: CallRow) -> None:
        self.calls[row.step, row.part] = call_values(self.run_id, row)
        self._row_characters += _characters((row.texts, row.result))

    @property
    def characters(self) -> int:
        """Of its JSON, at most."""
        return self._row_characters + _characters((self.entries, self.outputs, self.error, self.snapshot))


def _characters(texts: Iterable[str | None]) -> int:
    return sum(len(text) for text in texts if text)


COMMIT_COLUMNS: Final = tuple(field.name for field in fields(RunCommit) if field.init)
"""In the order of their columns in `commit.sql`."""
_commit_values: Final = attrgetter(*COMMIT_COLUMNS)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The answer of Postgres to a commit that it has written. `cancel_requested`: the run is to be cancelled."""

    cancel_requested: bool


@dataclass(slots=True)
class _Waiting:
    commit: RunCommit
    result: asyncio.Future[CommitResult]


class Committer:
    """Writes the commits of all runs, many in one statement. One per process.

    `run` works until it is cancelled. At most `most_waiting` commits wait at a time, and further callers of `commit`
    are held up, so that memory is bounded while Postgres is slow or away. `on_batch(seconds, commits)` is called after
    each statement, `on_trouble` for each that has to be sent again or split.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_s: float,
        most_waiting: int = 1000,
        on_batch: Callable[[float, int], None] = lambda _s, _n: None,
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._lease_s = lease_s
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(most_waiting)
        self._on_batch = on_batch
        self._on_trouble = on_trouble

    @property
    def lease_s(self) -> float:
        return self._lease_s

    @property
    def waiting(self) -> int:
        """How many commits wait for their turn."""
        return self._queue.qsize()

    async def commit(self, commit: RunCommit) -> CommitResult:
        """Returns when the commit is on disk. Raises ClaimLost if the claim is lost, CommitRefused if Postgres can't
        store a value.

        Waits while Postgres is away, without a limit: the caller stops when its lease ends.
        """
        waiting = _Waiting(commit, asyncio.get_running_loop().create_future())
        await self._queue.put(waiting)
        return await waiting.result

    async def run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            # Other runs that are ready in this turn of the loop shall be part of this batch.
            await asyncio.sleep(0)
            run_ids = {batch[0].commit.run_id}
            characters = batch[0].commit.characters
            later: list[_Waiting] = []
            while not self._queue.empty() and len(batch) < MOST_RUNS and characters < MOST_CHARACTERS:
                waiting = self._queue.get_nowait()
                characters += waiting.commit.characters
                # Commits of one run go one after the other: one row can't be changed twice in one statement.
                (later if waiting.commit.run_id in run_ids else batch).append(waiting)
                run_ids.add(waiting.commit.run_id)
            await self._write(batch)
            for waiting in later:
                await self._write([waiting])

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        """Postgres refuses a whole statement for one bad row: the batch is halved until that row's commit is alone."""
        batch = [waiting for waiting in batch if not waiting.result.done()]
        if not batch:
            return
        try:
            written, repeated = await self._send([waiting.commit for waiting in batch])
        except (asyncpg.PostgresError, ValueError, OverflowError, TypeError) as error:
            self._on_trouble()
            if len(batch) > 1:
                half = len(batch) // 2
                await self._write(batch[:half])
                await self._write(batch[half:])
                return
            reason = _reason(error)
            # The traceback may contain a user's values.
            log.error("commit refused", extra={"run_id": str(batch[0].commit.run_id), "reason": reason})  # noqa: TRY400
            _fail(batch[0], CommitRefused(reason))
            return
        for waiting in batch:
            commit = waiting.commit
            row = written.get(commit.run_id)
            if row is not None:
                _succeed(waiting, CommitResult(row["cancel_requested"]))
            elif repeated and commit.status and await self._is_written(commit):
                _succeed(waiting, CommitResult(cancel_requested=False))
            else:
                _fail(waiting, ClaimLost(str(commit.run_id), epoch=commit.epoch))

    async def _send(self, commits: Sequence[RunCommit]) -> tuple[dict[UUID, asyncpg.Record], bool]:
        """Returns the statement's row for each run that was written, and whether the statement was sent twice."""
        repeated = False
        while True:
            started = perf_counter()
            try:
                rows = await self._database.rows(COMMIT, self._lease_s, *_arrays(commits))
            except Unavailable:
                repeated = True
                self._on_trouble()
                await asyncio.sleep(_PAUSE_S)
                continue
            self._on_batch(perf_counter() - started, len(commits))
            return {row["run_id"]: row for row in rows}, repeated

    async def _is_written(self, commit: RunCommit) -> bool:
        """Whether an earlier try of this commit, whose answer was lost, has ended the claim."""
        while True:
            try:
                return bool(await self._database.value(_HAS_EVENTS, commit.run_id, commit.last_seq, commit.entries))
            except Unavailable:
                await asyncio.sleep(_PAUSE_S)


def _reason(error: Exception) -> str:
    """Why a commit is refused: the first line of the error, as the others may contain a user's values."""
    if isinstance(error, asyncpg.DivisionByZeroError):
        return "what has ended can't be changed"
    return str(error).partition("\n")[0]


def _succeed(waiting: _Waiting, result: CommitResult) -> None:
    if not waiting.result.done():
        waiting.result.set_result(result)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.result.done():
        waiting.result.set_exception(error)


def _columns(rows: Sequence[Values], width: int) -> list[Values | None]:
    """Rows → one array per column, as `unnest` takes them: it adds nulls to those that are shorter, or null themselves.

    Most columns are null in most commits, and to encode an array takes time.
    """
    nulls = (None,) * len(rows)
    return [column if column != nulls else None for column in zip(*rows, strict=True)] or [None] * width


def _arrays(commits: Sequence[RunCommit]) -> list[Values | None]:
    """The arrays of `commit.sql`, in the order of their numbers."""
    return [
        *_columns([_commit_values(commit) for commit in commits], len(COMMIT_COLUMNS)),
        *_columns([row for commit in commits for row in commit.steps.values()], len(STEP_COLUMNS)),
        *_columns([row for commit in commits for row in commit.calls.values()], len(CALL_COLUMNS)),
    ]
