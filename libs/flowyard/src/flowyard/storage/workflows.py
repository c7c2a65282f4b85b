"""Workflows and their revisions: apply, read, roll back, delete."""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from flowyard.access import Actor
from flowyard.errors.requests import IllegalMove, PathTaken, UnknownRevision, UnknownRun, UnknownWorkflow, WorkflowInUse
from flowyard.errors.services import Unavailable
from flowyard.language.problems import did_you_mean
from flowyard.storage.audit import write_act
from flowyard.storage.database import Database
from flowyard.storage.moves import Moved, Moves
from flowyard.storage.triggers import Connection, TriggerRow, Triggers, replace_triggers

_CANCELS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Head:
    """A revision without its document. `definition`: id of the document; `restores`: the revision rolled back to."""

    workflow: str
    number: int
    definition: int
    digest: str
    restores: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Revision(Head):
    """A revision with its document, spelled as when a document with this digest was first applied."""

    document: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A workflow in a list. `concurrency`: how many of its runs may run at once; None: no limit."""

    name: str
    revision: int
    digest: str
    concurrency: int | None
    priority: int
    created_at: datetime
    updated_at: datetime


class Workflows:
    """Applies, reads, rolls back and deletes workflows and their revisions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._moves = Moves(database)
        self._triggers = Triggers(database)

    async def apply(
        self,
        name: str,
        *,
        digest: str,
        document: str,
        concurrency: int | None,
        priority: int,
        triggers: Collection[TriggerRow] = (),
        by: Actor | None = None,
    ) -> tuple[Revision, bool]:
        """Makes the document the current revision, and its triggers the workflow's.

        Returns the revision, and whether it is new: False if it was current. Raises PathTaken.
        """
        known = await self._database.row(f"{_CURRENT} AND d.digest = $2", name, digest)
        if known is not None:
            return Revision(**known), False
        async with self._triggering(name, triggers) as connection:
            definition = await connection.fetchval(_DEFINE, digest, document)
            await connection.execute(_LOCK_OR_MAKE, name, priority)
            current = await connection.fetchrow(_CURRENT, name)
            if current is not None and current["digest"] == digest:
                return Revision(**current), False
            row = await connection.fetchrow(_ADD_REVISION, name, definition, None, concurrency, priority)
            await replace_triggers(connection, name, row["number"], triggers)
            details = {"revision": row["number"], "digest": digest}
            await write_act(connection, "workflow.applied", by, workflow=name, details=details)
            return Revision(**row, digest=digest, document=document), True

    @asynccontextmanager
    async def _triggering(self, name: str, triggers: Collection[TriggerRow]) -> AsyncIterator[Connection]:
        """A transaction. Raises PathTaken if another workflow has one of the paths."""
        paths = [trigger.path for trigger in triggers if trigger.path is not None]
        try:
            async with self._database.transaction() as connection:
                yield connection
        except asyncpg.UniqueViolationError as error:
            owner = await self._triggers.owner_of(paths, other_than=name)
            if owner is None:
                raise Unavailable("a path that another workflow has just given up") from error
            raise PathTaken(owner[0], workflow=owner[1]) from error

    async def current(self, name: str) -> Revision:
        """Raises UnknownWorkflow."""
        row = await self._database.row(_CURRENT, name)
        if row is None:
            raise await self._unknown(name)
        return Revision(**row)

    async def head(self, name: str) -> Head:
        """As `current`, without the document, which may be large. Raises UnknownWorkflow."""
        row = await self._database.row(_HEAD, name)
        if row is None:
            raise await self._unknown(name)
        return Head(**row)

    async def document(self, definition: int) -> str:
        """The text of a document. `definition`: its id, which a revision or a run refers to."""
        return str(await self._database.value("SELECT document FROM definitions WHERE id = $1", definition))

    async def revision(self, name: str, number: int) -> Revision:
        """Raises UnknownWorkflow, UnknownRevision."""
        row = await self._database.row(_REVISION, name, number)
        if row is None:
            newest = await self.head(name)
            raise UnknownRevision(f"{name}/{number}", hint=f"the newest is {newest.number}")
        return Revision(**row)

    async def revisions(self, name: str, *, before: int | None = None, limit: int = 50) -> list[Head]:
        """Up to `limit` revisions, newest first. `before`: only those with smaller numbers. Raises UnknownWorkflow."""
        rows = await self._database.rows(_REVISIONS, name, before, limit)
        if not rows:
            await self.head(name)
        return [Head(**row) for row in rows]

    async def get(self, name: str) -> tuple[Listed, Revision]:
        """The workflow and its current revision. Raises UnknownWorkflow."""
        row = await self._database.row(_GET, name)
        if row is None:
            raise await self._unknown(name)
        values: dict[str, Any] = dict(row)
        listed = {name: values.pop(f"w_{name}") for name in ("concurrency", "priority", "created_at", "updated_at")}
        revision = Revision(**values)
        return Listed(name=revision.workflow, revision=revision.number, digest=revision.digest, **listed), revision

    async def page(
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        search: str | None = None,
        only: Collection[str] | None = None,
    ) -> list[Listed]:
        """In the order of their names. `after`: only greater names; `search`: a part of the name, in any case; `only`:
        these, or all.
        """
        names = list(only) if only is not None else None
        return [Listed(**row) for row in await self._database.rows(_PAGE, after, search, limit, names)]

    async def recent(self, limit: int) -> list[Listed]:
        """Up to `limit` workflows, the one that was changed last first."""
        return [Listed(**row) for row in await self._database.rows(_RECENT, limit)]

    async def roll_back(
        self,
        name: str,
        number: int,
        *,
        concurrency: int | None,
        priority: int,
        triggers: Collection[TriggerRow] = (),
        by: Actor | None = None,
    ) -> tuple[Revision, bool]:
        """Makes a new revision with the document of revision `number`. False if that document is current already.

        `concurrency`, `priority`, `triggers`: as in that document. Raises UnknownWorkflow, UnknownRevision, PathTaken.
        """
        async with self._triggering(name, triggers) as connection:
            await connection.execute("SELECT FROM workflows WHERE name = $1 FOR UPDATE", name)
            current, old = await connection.fetchrow(_CURRENT, name), await connection.fetchrow(_REVISION, name, number)
            if current is not None and old is not None:
                if current["definition"] == old["definition"]:
                    return Revision(**current), False
                row = await connection.fetchrow(_ADD_REVISION, name, old["definition"], number, concurrency, priority)
                await replace_triggers(connection, name, row["number"], triggers)
                details = {"revision": row["number"], "digest": old["digest"], "restores": number}
                await write_act(connection, "workflow.restored", by, workflow=name, details=details)
                return Revision(**row, digest=old["digest"], document=old["document"]), True
        await self.revision(name, number)
        raise UnknownRevision(f"{name}/{number}")

    async def delete(self, name: str, *, force: bool = False, by: Actor | None = None) -> list[Moved]:
        """Raises UnknownWorkflow, and WorkflowInUse if it has open runs.

        `force`: they are cancelled instead, at once or by their executors. Returns the runs that were moved.
        """
        async with self._database.transaction() as connection:
            known = await connection.fetchval("SELECT name FROM workflows WHERE name = $1 FOR UPDATE", name)
            if known is not None:
                open_runs = await connection.fetchval(_COUNT_OPEN, name)
                if open_runs and not force:
                    raise WorkflowInUse(name, open_runs=open_runs)
                await connection.execute("DELETE FROM workflows WHERE name = $1", name)
                await write_act(connection, "workflow.deleted", by, workflow=name, details={"open_runs": open_runs})
        if known is None:
            raise await self._unknown(name)
        # Now no run can be added or claimed. Runs that aren't cancelled here are cancelled by `cancel_abandoned`.
        rows = await self._database.rows(f"SELECT id FROM ({_OPEN}) o WHERE o.workflow = $1", name)
        return await self._cancel([row["id"] for row in rows], by)

    async def cancel_abandoned(self, most: int = 1000) -> list[Moved]:
        """Cancels up to `most` open runs that were submitted or retried while their workflow was being deleted."""
        rows = await self._database.rows(_ABANDONED, most)
        return await self._cancel([row["id"] for row in rows], None)

    async def _cancel(self, run_ids: Collection[UUID], by: Actor | None) -> list[Moved]:
        slots = asyncio.Semaphore(_CANCELS_AT_ONCE)

        async def cancel(run_id: UUID) -> Moved | None:
            async with slots:
                try:
                    return await self._moves.cancel(run_id, by=by)
                except (IllegalMove, UnknownRun):
                    return None  # it ended by itself meanwhile

        cancelled = await asyncio.gather(*map(cancel, run_ids))
        return [moved for moved in cancelled if moved is not None]

    async def _unknown(self, name: str) -> UnknownWorkflow:
        rows = await self._database.rows("SELECT name FROM workflows ORDER BY updated_at DESC LIMIT 200")
        return UnknownWorkflow(name, hint=did_you_mean(name, [row["name"] for row in rows]))


_COLUMNS: Final = "r.workflow, r.number, r.definition, d.digest, r.restores, r.created_at"

_HEAD: Final = f"""
SELECT {_COLUMNS} FROM workflows w
JOIN revisions r ON r.workflow = w.name AND r.number = w.revision
JOIN definitions d ON d.id = r.definition
WHERE w.name = $1
"""

_CURRENT: Final = _HEAD.replace(_COLUMNS, f"{_COLUMNS}, d.document")

_REVISION: Final = f"""
SELECT {_COLUMNS}, d.document FROM revisions r JOIN definitions d ON d.id = r.definition
WHERE r.workflow = $1 AND r.number = $2
"""

_REVISIONS: Final = f"""
SELECT {_COLUMNS} FROM revisions r JOIN definitions d ON d.id = r.definition
WHERE r.workflow = $1 AND ($2::int IS NULL OR r.number < $2) ORDER BY r.number DESC LIMIT $3
"""

_GET: Final = _CURRENT.replace(
    "d.document",
    "d.document, w.concurrency AS w_concurrency, w.priority AS w_priority, w.created_at AS w_created_at,"
    " w.updated_at AS w_updated_at",
)

_LISTED: Final = """
SELECT w.name, w.revision, d.digest, w.concurrency, w.priority, w.created_at, w.updated_at FROM workflows w
JOIN revisions r ON r.workflow = w.name AND r.number = w.revision
JOIN definitions d ON d.id = r.definition
"""

_RECENT: Final = f"{_LISTED} ORDER BY w.updated_at DESC, w.name LIMIT $1"

_PAGE: Final = f"""
{_LISTED}
WHERE ($1::text IS NULL OR w.name > $1) AND ($2::text IS NULL OR position(lower($2) IN lower(w.name)) > 0)
    AND ($4::text[] IS NULL OR w.name = ANY ($4))
ORDER BY w.name LIMIT $3
"""

_DEFINE: Final = """
INSERT INTO definitions (digest, document) VALUES ($1, $2)
-- New again: the retention deletes old definitions without a revision, and must leave this one.
ON CONFLICT (digest) DO UPDATE SET created_at = now()
RETURNING id
"""

_LOCK_OR_MAKE: Final = """
INSERT INTO workflows (name, revision, priority) VALUES ($1, 0, $2)
ON CONFLICT (name) DO UPDATE SET name = excluded.name
"""
"""The lock of the row puts two concurrent changes of a workflow in order."""

_ADD_REVISION: Final = """
WITH changed AS (
    UPDATE workflows SET revision = revision + 1, concurrency = $4, priority = $5, updated_at = now()
    WHERE name = $1 RETURNING name, revision
)
INSERT INTO revisions (workflow, number, definition, restores) SELECT name, revision, $2, $3 FROM changed
RETURNING workflow, number, definition, restores, created_at
"""

# Two parts, for each of which there is a small index.
_OPEN: Final = """
SELECT id, workflow, cancel_requested_at FROM runs WHERE status = 'queued'
UNION ALL
SELECT id, workflow, cancel_requested_at FROM runs WHERE status IN ('running', 'waiting')
"""

_COUNT_OPEN: Final = f"SELECT count(*) FROM ({_OPEN}) o WHERE o.workflow = $1"

_ABANDONED: Final = f"""
SELECT o.id FROM ({_OPEN}) o
WHERE o.cancel_requested_at IS NULL AND NOT EXISTS (SELECT FROM workflows w WHERE w.name = o.workflow)
LIMIT $1
"""
