"""What is told of one run: all that Postgres knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from flowyard.language.workflow import Workflow
from flowyard.runs.entries import ENDINGS, texts_in, without_texts
from flowyard.runs.run import Entry, Run
from flowyard.service.documents import DocumentCache
from flowyard.storage.database import Database, dumps
from flowyard.storage.history import History
from flowyard.storage.rows import CallRow
from flowyard.storage.runs import Runs

_ROWS: Final = 16
"""Commits that are read at a time: one may tell a megabyte."""
_LARGE: Final = 2000
"""Events of a run that is read and told only when no other large one is."""
_MOST_TEXTS: Final = 16_000_000
"""Characters of what steps wrote and models were asked that are kept in memory; what comes after them is left out."""
_MOST_WORKFLOWS: Final = 64


@dataclass(frozen=True, slots=True)
class Told:
    """A finished run. `workflow`: its document, read; None if this version refuses what an older one took."""

    run: Run
    finished_at: datetime
    entries: Sequence[Entry]
    calls: Sequence[CallRow]
    workflow: Workflow | None

    @property
    def was_over_before(self) -> bool:
        """Whether it had ended and was retried: then it has been told before."""
        return sum(entry.type in ENDINGS for entry in self.entries) > 1


class Teller:
    """Reads runs, and each of their documents once."""

    def __init__(self, database: Database) -> None:
        self._runs = Runs(database)
        self._history = History(database)
        self._documents = DocumentCache(most=_MOST_WORKFLOWS)
        self._large = asyncio.Lock()

    @asynccontextmanager
    async def read(self, run_id: UUID) -> AsyncIterator[Told | None]:
        """None: the run is open again, and will be told when it has ended. Raises UnknownRun.

        Large runs are read one after the other: each waits until the block of the one before is over.
        """
        run = await self._runs.get(run_id)
        if run.finished_at is None:
            yield None
            return
        async with self._large if run.last_seq > _LARGE else nullcontext():
            workflow = await self._workflow(run)
            calls = await self._history.calls(run_id)
            yield Told(run, run.finished_at, await self._entries(run_id), calls, workflow)

    async def _entries(self, run_id: UUID) -> list[Entry]:
        found: list[Entry] = []
        left = _MOST_TEXTS
        async for page in self._history.pages(run_id, rows=_ROWS):
            for entry in page:
                left -= sum(len(dumps(text)) for text in texts_in(entry))
                found.append(entry if left >= 0 else without_texts(entry))
        return found

    async def _workflow(self, run: Run) -> Workflow | None:
        fetch = partial(self._runs.document_of, run.id)
        return (await self._documents.load(run.digest, f"{run.workflow}.yaml", fetch)).workflow
