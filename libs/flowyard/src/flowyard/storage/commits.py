"""Group commit: what many runs of one process have to say goes to Postgres in one statement.

Each run's part carries its claim. A part whose claim isn't held any more matches no row, and nothing of it is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from uuid import UUID

import asyncpg

from flowyard.errors import ClaimLost, CommitRefused, Unavailable
from flowyard.storage.database import Database

log = logging.getLogger(__name__)

COMMIT: Final = (Path(__file__).parent / "commit.sql").read_text()
MOST_RUNS: Final = 64
"""How many runs one statement takes at most."""
_ENDED: Final = "SELECT status = $3 AND last_seq = $4 FROM runs WHERE id = $1 AND epoch = $2"
_PAUSE_S: Final = 0.1
"""Between tries while Postgres is away."""

Row = tuple[Any, ...]


@dataclass(slots=True)
class Part:
    """What one run has to commit. Rows are in the order of the columns in `commit.sql`.

    `status`: the run ends with it. `head`: the checkpoint from which it would resume now. `replaces`: digests of large
    values that no checkpoint refers to any more.
    """

    run_id: UUID
    epoch: int
    last_seq: int
    entries: str | None = None
    head: str | None = None
    checkpoints: list[Row] = field(default_factory=list)
    writes: list[Row] = field(default_factory=list)
    values: list[Row] = field(default_factory=list)
    replaces: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)
    status: str | None = None
    outputs: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What Postgres says of a part that it took."""

    cancel_requested: bool


@dataclass(slots=True)
class _Waiting:
    part: Part
    done: asyncio.Future[Told]


class Committer:
    """One per process. `run` works until it is cancelled; `commit` waits for its part to be on disk.

    At most `most_waiting` parts wait at a time: who comes later waits for a place, so that memory is bounded while
    Postgres is slow or away. `on_batch(seconds, parts)` is told of each statement, `on_trouble` of each that
    has to be sent again or split.
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
    def waiting(self) -> int:
        """How many parts wait for their turn."""
        return self._queue.qsize()

    async def commit(self, part: Part) -> Told:
        """Raises ClaimLost if the claim isn't held any more, CommitRefused if Postgres can't store the part.

        While Postgres is away it waits: the caller's lease decides for how long that makes sense.
        """
        waiting = _Waiting(part, asyncio.get_running_loop().create_future())
        await self._queue.put(waiting)
        return await waiting.done

    async def run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            # What is ready in this turn of the loop travels along.
            await asyncio.sleep(0)
            taken = {batch[0].part.run_id}
            later: list[_Waiting] = []
            while not self._queue.empty() and len(batch) < MOST_RUNS:
                waiting = self._queue.get_nowait()
                # A run's parts go one after the other: one row can't be changed twice in one statement.
                (later if waiting.part.run_id in taken else batch).append(waiting)
                taken.add(waiting.part.run_id)
            await self._write(batch)
            for waiting in later:
                await self._write([waiting])

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        """Postgres refuses a whole statement for one bad row: the batch is halved until the row is alone."""
        batch = [waiting for waiting in batch if not waiting.done.done()]
        if not batch:
            return
        try:
            told, repeated = await self._send([waiting.part for waiting in batch])
        except (asyncpg.PostgresError, ValueError, OverflowError, TypeError) as error:
            self._on_trouble()
            if len(batch) > 1:
                half = len(batch) // 2
                await self._write(batch[:half])
                await self._write(batch[half:])
                return
            # The lines after the first, and the traceback, may tell a user's values.
            reason = str(error).partition("\n")[0]
            log.error("commit refused", extra={"run_id": str(batch[0].part.run_id), "reason": reason})  # noqa: TRY400
            _fail(batch[0], CommitRefused(reason))
            return
        for waiting in batch:
            part = waiting.part
            if part.run_id in told:
                _succeed(waiting, Told(told[part.run_id]))
            elif repeated and part.status and await self._ended_by(part):
                _succeed(waiting, Told(cancel_requested=False))
            else:
                _fail(waiting, ClaimLost(str(part.run_id), epoch=part.epoch))

    async def _send(self, parts: Sequence[Part]) -> tuple[dict[UUID, bool], bool]:
        """Which runs were written, and whether the statement was sent more than once."""
        repeated = False
        while True:
            started = perf_counter()
            try:
                rows = await self._database.rows(COMMIT, *_arguments(parts), self._lease_s)
            except Unavailable:
                repeated = True
                self._on_trouble()
                await asyncio.sleep(_PAUSE_S)
                continue
            self._on_batch(perf_counter() - started, len(parts))
            return {row["run_id"]: row["cancel_requested"] for row in rows}, repeated

    async def _ended_by(self, part: Part) -> bool:
        """Whether an earlier try of this part, whose answer was lost, has ended the run."""
        asked = part.run_id, part.epoch, part.status, part.last_seq
        while True:
            try:
                return bool(await self._database.value(_ENDED, *asked))
            except Unavailable:
                await asyncio.sleep(_PAUSE_S)


def _succeed(waiting: _Waiting, told: Told) -> None:
    if not waiting.done.done():
        waiting.done.set_result(told)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _columns(rows: Iterable[Row], width: int) -> tuple[list[Any], ...]:
    """Rows → one array per column, as `unnest` takes them."""
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    return columns or tuple([] for _ in range(width))


def _arguments(parts: Sequence[Part]) -> list[Any]:
    heads = [
        (p.run_id, p.epoch, p.last_seq, p.head, p.entries, p.status, p.outputs, p.error, bool(p.checkpoints))
        for p in parts
    ]
    return [
        *_columns(heads, 9),
        *_columns(((p.run_id, *row) for p in parts for row in p.steps), 12),
        *_columns(((p.run_id, *row) for p in parts for row in p.calls), 16),
        *_columns(((p.run_id, *row) for p in parts if not p.status for row in p.checkpoints), 6),
        *_columns(((p.run_id, *row) for p in parts if not p.status for row in p.writes), 8),
        *_columns(((p.run_id, *row) for p in parts if not p.status for row in p.values), 3),
        *_columns(((p.run_id, *row) for p in parts if not p.status for row in p.replaces), 2),
    ]
