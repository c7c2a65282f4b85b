"""Reads a finished run from Postgres: everything that is exported of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from flowyard.language.workflow import Workflow
from flowyard.runs.call_texts import CallTexts
from flowyard.runs.entries import ENDINGS, texts_in, without_texts
from flowyard.runs.large_values import large_outputs
from flowyard.runs.run import Entry, Run
from flowyard.service.documents import DocumentCache
from flowyard.storage.database import Database, dumps
from flowyard.storage.exports import Exports
from flowyard.storage.history import History
from flowyard.storage.rows import CallRow
from flowyard.storage.runs import Runs

_LARGE_EVENTS: Final = 2000
_LARGE_BYTES: Final = 2_000_000
"""Runs with more events, or more bytes of events and texts, are exported one at a time, to bound memory."""
_MAX_TEXTS: Final = 16_000_000
"""Characters of outputs, prompts and replies of one run in memory; later ones are left out."""
_MAX_WORKFLOWS: Final = 64


class LeftOut(str):
    """In place of a value that is too large to be exported."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run. `workflow`: None if this version refuses a document that an older one accepted.

    `installation`: the id of the database that it is from.
    """

    run: Run
    finished_at: datetime
    entries: Sequence[Entry]
    calls: Sequence[CallRow]
    workflow: Workflow | None
    installation: str

    @property
    def ended_before(self) -> bool:
        """Whether the run had ended before, and was retried: then it may have been exported before."""
        return sum(entry.type in ENDINGS for entry in self.entries) > 1


class RunReader:
    """Reads finished runs, with a cache of their workflows."""

    def __init__(self, database: Database) -> None:
        self._runs = Runs(database)
        self._exports = Exports(database)
        self._installation: str | None = None
        self._history = History(database)
        self._documents = DocumentCache(most=_MAX_WORKFLOWS)
        self._large = asyncio.Lock()

    @asynccontextmanager
    async def read(self, run_id: UUID) -> AsyncIterator[FinishedRun | None]:
        """The run, or None if it isn't finished: a retried one is exported when it ends again. Raises UnknownRun.

        Only one large run is open at a time: the next waits until the block of the previous one has ended.
        """
        run = await self._runs.get(run_id)
        if run.finished_at is None:
            yield None
            return
        is_large = run.last_seq > _LARGE_EVENTS or await self._history.stored_bytes(run_id) > _LARGE_BYTES
        async with self._large if is_large else nullcontext():
            workflow = await self._workflow(run)
            calls = await self._history.calls(run_id)
            outputs = {**(run.outputs or {}), **_left_out(run.large_outputs)} if run.outputs is not None else None
            whole = replace(run, outputs=outputs, large_outputs={})
            entries, installation = await self._entries(run_id), await self._installation_id()
            yield FinishedRun(whole, run.finished_at, entries, calls, workflow, installation)

    async def _installation_id(self) -> str:
        if self._installation is None:
            self._installation = await self._exports.installation()
        return self._installation

    async def _entries(self, run_id: UUID) -> list[Entry]:
        entries: list[Entry] = []
        left = _MAX_TEXTS
        page, more = await self._history.page(run_id)
        while page or more:
            for entry in await self._with_texts(run_id, page):
                left -= sum(len(dumps(text)) for text in texts_in(entry))
                entries.append(_with_left_out(entry) if left >= 0 else without_texts(entry))
            page, more = await self._history.page(run_id, after=page[-1].seq) if more else ([], False)
        return entries

    async def _with_texts(self, run_id: UUID, page: Sequence[Entry]) -> list[Entry]:
        """The entries; those of calls with what was said in them."""
        said: dict[int, CallTexts] = {}
        after = page[0].seq - 1
        while more := await self._history.texts(run_id, after=after, to=page[-1].seq):
            said |= more
            after = max(more)
        return [e._replace(data={**e.data, **said[e.seq].data}) if e.seq in said else e for e in page]

    async def _workflow(self, run: Run) -> Workflow | None:
        fetch = partial(self._runs.document_of, run.id)
        return (await self._documents.load(run.digest, f"{run.workflow}.yaml", fetch)).workflow


def _with_left_out(entry: Entry) -> Entry:
    large = large_outputs(entry.data)
    if not large:
        return entry
    return entry._replace(data={**entry.data, "outputs": {**entry.data["outputs"], **_left_out(large)}})


def _left_out(large: Mapping[str, int]) -> dict[str, LeftOut]:
    return {name: LeftOut(f"{size:,} bytes, not exported") for name, size in large.items()}
