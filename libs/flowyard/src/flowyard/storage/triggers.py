"""Triggers of the current revisions: written with a revision, read, paused."""

# statements are put together from words of this file

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, assert_never

import asyncpg

from flowyard.access import Actor
from flowyard.errors.requests import UnknownTrigger
from flowyard.language.problems import did_you_mean
from flowyard.language.triggers import (
    Chat,
    EndStatus,
    Mcp,
    Messages,
    OtherWorkflow,
    Requests,
    Timed,
    Trigger,
    TriggerKind,
    Webhook,
)
from flowyard.language.workflow import Workflow
from flowyard.schedules.rules import rule_text
from flowyard.storage.audit import Act, write_act
from flowyard.storage.database import Database

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """What is stored of a document's trigger. `path`: of a webhook; `subject`: of messages of NATS.

    `rule`: of a schedule, see `rule_of`.

    `follows`, `ends`: the workflow that it follows, and the statuses of the ends that it waits for.
    """

    name: str
    kind: TriggerKind
    enabled: bool
    path: str | None = None
    subject: str | None = None
    follows: str | None = None
    ends: Sequence[EndStatus] | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrigger(TriggerRow):
    """`definition`, `digest`: of its workflow's current document."""

    workflow: str
    revision: int
    definition: int
    digest: str
    paused_at: datetime | None
    created_at: datetime

    @property
    def is_live(self) -> bool:
        return self.enabled and self.paused_at is None


def trigger_rows(workflow: Workflow) -> list[TriggerRow]:
    return [_row(trigger) for trigger in workflow.triggers.values()]


def _row(trigger: Trigger) -> TriggerRow:
    match trigger.source:
        case Webhook(path=path) as source:
            return TriggerRow(trigger.name, source.kind, trigger.enabled, path=path)
        case Messages(subject=subject) | Requests(subject=subject) as source:
            return TriggerRow(trigger.name, source.kind, trigger.enabled, subject=subject)
        case OtherWorkflow(name=follows, ends=ends) as source:
            return TriggerRow(trigger.name, source.kind, trigger.enabled, follows=follows, ends=ends)
        case Chat() | Mcp() as source:
            return TriggerRow(trigger.name, source.kind, trigger.enabled)
        case Timed(rule=rule) as source:
            return TriggerRow(trigger.name, source.kind, trigger.enabled, rule=rule_text(rule))
        case _:
            assert_never(trigger.source)


async def replace_triggers(
    connection: Connection, workflow: str, revision: int, triggers: Collection[TriggerRow]
) -> None:
    """In the transaction that makes the revision. A trigger that was paused, and is there again, stays so.

    asyncpg's UniqueViolationError: a path belongs to another workflow.
    """
    rows = await connection.fetch("DELETE FROM triggers WHERE workflow = $1 RETURNING *", workflow)
    before = {row["name"]: row for row in rows}
    for trigger in triggers:
        facts = trigger.name, trigger.kind, trigger.path, trigger.enabled, trigger.follows, trigger.ends, trigger.rule
        kept = _kept(before.get(trigger.name), trigger)
        await connection.execute(_ADD, workflow, revision, *facts, *kept, trigger.subject)


def _kept(earlier: asyncpg.Record | None, trigger: TriggerRow) -> tuple[Any, ...]:
    """What the trigger keeps of the one that it replaces, in the order of `_ADD`.

    A schedule begins now if its rule is new or if it didn't fire before: what a rule would have started isn't missed.
    """
    if earlier is None:
        return None, None, None, 0, []
    goes_on = earlier["rule"] == trigger.rule and earlier["enabled"] and earlier["paused_at"] is None
    handled_at = earlier["handled_at"] if goes_on else None
    # What was sent to another subject before is nobody's.
    created_at = earlier["created_at"] if earlier["subject"] == trigger.subject else None
    return earlier["paused_at"], created_at, handled_at, earlier["fires"], earlier["open_runs"]


class Triggers:
    """Reads triggers, pauses them, lets them go on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_path(self, path: str) -> StoredTrigger | None:
        """The webhook at `/hooks/<path>`."""
        row = await self._database.row(f"{SELECT_TRIGGERS} WHERE t.path = $1", path)
        return StoredTrigger(**row) if row is not None else None

    async def only(self, kind: Literal["chat", "mcp"], workflow: str) -> StoredTrigger | None:
        """The trigger of this kind of a workflow, which has one at most."""
        row = await self._database.row(f"{SELECT_TRIGGERS} WHERE t.workflow = $1 AND t.kind = $2", workflow, kind)
        return StoredTrigger(**row) if row is not None else None

    async def get(self, workflow: str, name: str) -> StoredTrigger:
        """Raises UnknownTrigger."""
        row = await self._database.row(f"{SELECT_TRIGGERS} WHERE t.workflow = $1 AND t.name = $2", workflow, name)
        if row is None:
            raise await self._unknown(workflow, name)
        return StoredTrigger(**row)

    async def page(
        self, *, workflow: str | None = None, after: tuple[str, str] | None = None, limit: int = 50
    ) -> list[StoredTrigger]:
        """In the order of their workflows and names. `after`: only those after this workflow and name."""
        workflow_after, name_after = after or (None, None)
        rows = await self._database.rows(_PAGE, workflow, workflow_after, name_after, limit)
        return [StoredTrigger(**row) for row in rows]

    async def set_paused(self, workflow: str, name: str, *, paused: bool, by: Actor | None = None) -> StoredTrigger:
        """Has no effect if it is so already. `by`: for the audit log. Raises UnknownTrigger."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(_PAUSE, workflow, name, paused) is not None:
                act: Act = "trigger.paused" if paused else "trigger.resumed"
                await write_act(connection, act, by, workflow=workflow, objects=[name])
        return await self.get(workflow, name)

    async def of_kind(self, kind: TriggerKind) -> list[StoredTrigger]:
        """All of them, paused or not."""
        rows = await self._database.rows(f"{SELECT_TRIGGERS} WHERE t.kind = $1 ORDER BY t.workflow, t.name", kind)
        return [StoredTrigger(**row) for row in rows]

    async def chains(self) -> dict[str, frozenset[str]]:
        """By the name of each workflow that follows others: the names of these."""
        rows = await self._database.rows(_CHAINS)
        return {row["workflow"]: frozenset(row["followed"]) for row in rows}

    async def owner_of(self, paths: Collection[str], *, other_than: str) -> tuple[str, str] | None:
        """The first of these paths that belongs to another workflow than `other_than`, and the name of that."""
        row = await self._database.row(_OWNER, list(paths), other_than)
        return (row["path"], row["workflow"]) if row is not None else None

    async def _unknown(self, workflow: str, name: str) -> UnknownTrigger:
        rows = await self._database.rows("SELECT name FROM triggers WHERE workflow = $1", workflow)
        return UnknownTrigger(f"{workflow}/{name}", hint=did_you_mean(name, [row["name"] for row in rows]))


_ADD: Final = """
INSERT INTO triggers (workflow, revision, name, kind, path, enabled, follows, ends, rule, paused_at, created_at,
    handled_at, fires, open_runs, due_at, subject)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text, $10, coalesce($11, now()),
    CASE WHEN $9::text IS NOT NULL THEN coalesce($12, clock_timestamp()) END, $13, $14,
    CASE WHEN $9::text IS NOT NULL THEN now() END, $15)
"""

SELECT_TRIGGERS: Final = """
SELECT t.workflow, t.name, t.kind, t.path, t.subject, t.follows, t.ends, t.rule, t.enabled, t.revision,
    r.definition, d.digest,
    t.paused_at, t.created_at
FROM triggers t
JOIN revisions r ON r.workflow = t.workflow AND r.number = t.revision
JOIN definitions d ON d.id = r.definition
"""

_PAGE: Final = f"""
{SELECT_TRIGGERS}
WHERE ($1::text IS NULL OR t.workflow = $1) AND ($2::text IS NULL OR (t.workflow, t.name) > ($2, $3::text))
ORDER BY t.workflow, t.name LIMIT $4
"""

_PAUSE: Final = """
UPDATE triggers SET paused_at = CASE WHEN $3::bool THEN now() END,
    -- What a schedule would have started meanwhile wasn't missed.
    handled_at = CASE WHEN rule IS NULL OR $3 THEN handled_at ELSE clock_timestamp() END,
    due_at = CASE WHEN rule IS NOT NULL THEN now() END
WHERE workflow = $1 AND name = $2 AND (paused_at IS NOT NULL) <> $3
RETURNING name
"""

_CHAINS: Final = """
SELECT workflow, array_agg(DISTINCT follows) AS followed FROM triggers WHERE follows IS NOT NULL GROUP BY workflow
"""

_OWNER: Final = "SELECT path, workflow FROM triggers WHERE path = ANY($1) AND workflow <> $2 ORDER BY path LIMIT 1"
