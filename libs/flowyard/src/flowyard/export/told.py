"""What is told of one run: all that Postgres knows of it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from flowyard.language.load import load_text
from flowyard.language.workflow import Workflow
from flowyard.runs.entries import ENDINGS
from flowyard.runs.run import Entry, Run
from flowyard.storage.database import Database
from flowyard.storage.history import CallRecord, History
from flowyard.storage.runs import Runs

_PAGE: Final = 1000
_MOST_WORKFLOWS: Final = 64


@dataclass(frozen=True, slots=True)
class Told:
    """A finished run. `workflow`: its document, read; None if this version refuses what an older one took."""

    run: Run
    finished_at: datetime
    entries: Sequence[Entry]
    calls: Sequence[CallRecord]
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
        self._workflows: OrderedDict[str, Workflow | None] = OrderedDict()

    async def read(self, run_id: UUID) -> Told | None:
        """None: the run is open again, and will be told when it has ended. Raises UnknownRun."""
        run = await self._runs.get(run_id)
        if run.finished_at is None:
            return None
        workflow = await self._workflow(run)
        return Told(run, run.finished_at, await self._entries(run_id), await self._history.calls(run_id), workflow)

    async def _entries(self, run_id: UUID) -> list[Entry]:
        found: list[Entry] = []
        while page := await self._history.entries(run_id, after=found[-1].seq if found else 0, most=_PAGE):
            found += page
        return found

    async def _workflow(self, run: Run) -> Workflow | None:
        if run.digest not in self._workflows:
            text = await self._runs.document_of(run.id)
            # In a thread: a long document takes a second to read.
            loaded = await asyncio.to_thread(load_text, text, f"{run.workflow}.yaml")
            self._workflows[run.digest] = loaded.workflow
            while len(self._workflows) > _MOST_WORKFLOWS:
                self._workflows.popitem(last=False)
        return self._workflows[run.digest]
