"""The audit log: who did what. An act is written down in the transaction in which it happens, and chained soon after.

So no act waits for another one: only `chain_audit`, which runs beside them, puts them in order.
"""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, get_args

import asyncpg

from flowyard.access import Actor
from flowyard.storage.database import Database
from flowyard.storage.filters import where

Act: TypeAlias = Literal[
    "agent.removed",
    "delivery.replayed",
    "key.created",
    "key.revoked",
    "key.rotated",
    "notification.replayed",
    "receiver.enabled",
    "receiver.replayed",
    "run.cancelled",
    "run.forked",
    "run.retried",
    "run.submitted",
    "session.opened",
    "trigger.backfilled",
    "trigger.paused",
    "trigger.resumed",
    "workflow.applied",
    "workflow.deleted",
    "workflow.restored",
]
ACTS: Final[tuple[Act, ...]] = get_args(Act)
KEPT_DAYS: Final = 30
"""The log is kept for this long at least, whatever the settings say."""
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One act in the chain. `at`: as text, since it is part of what is hashed. `details`: as they were written.

    `objects`: the ids of what it was done with; runs that were submitted together by one key are one row.
    """

    number: int
    at: str
    act: Act
    key_id: str | None
    who: str
    address: str | None
    workflow: str | None
    objects: Sequence[str]
    details: Mapping[str, Any] | None
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows: those that have all of this. `act`: one, or the word before the dot of several."""

    act: str | None = None
    key_id: str | None = None
    workflow: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Audit:
    """Chains and reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chain(self) -> int:
        """Puts all acts that were written down at the end of the chain. Returns how many."""
        total = 0
        while True:
            chained: int = await self._database.value("SELECT chain_audit($1)", _BATCH)
            total += chained
            if chained < _BATCH:
                return total

    async def page(
        self, wanted: AuditFilter, *, after: int | None = None, before: int | None = None, limit: int
    ) -> list[AuditRow]:
        """Up to `limit` rows. `after`: in the order of the chain, those with greater numbers; `before`, or neither: in
        reverse order, those with smaller ones.
        """
        clause, args = where(
            ("number > {}", after),
            ("number < {}", before),
            ("(act = {} OR starts_with(act, {}))", wanted.act, f"{wanted.act}."),
            ("key_id = {}", wanted.key_id),
            ("workflow = {}", wanted.workflow),
            (_BY_OBJECT, wanted.object_id, wanted.object_id),
            ("at >= {}", wanted.since),
            ("at < {}", wanted.until),
        )
        order = "number" if after is not None else "number DESC"
        statement = f"SELECT {_COLUMNS} FROM audit {clause} ORDER BY {order} LIMIT ${len(args) + 1}"
        return [AuditRow(**row) for row in await self._database.rows(statement, *args, limit)]


async def write_act(
    connection: asyncpg.Connection[asyncpg.Record],
    act: Act,
    by: Actor | None,
    *,
    workflow: str | None = None,
    objects: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
) -> None:
    """Within the transaction of the act. `by` None: it is the system's own, which isn't written down."""
    if by is not None:
        text = details_text(details) if details is not None else None
        await connection.execute(_WRITE, act, by.key_id, by.who, by.address, workflow, list(objects), text)


def act_columns(by: Actor | None) -> tuple[str | None, str | None, str | None]:
    """The arguments of `act_of`."""
    return (by.key_id, by.who, by.address) if by is not None else (None, None, None)


def act_of(act: Act, first: int, source: str, *, objects: str, workflow: str = "NULL", details: str = "NULL") -> str:
    """A part of a statement that writes the act down for each row of `source`, if somebody did it.

    `first`: the number of the first of the three parameters that `act_columns` returns. The others: expressions.
    """
    key_id, who, address = (f"${number}::text" for number in range(first, first + 3))
    return f"""
INSERT INTO audit_entries ({_WRITTEN}) SELECT '{act}', {key_id}, {who}, {address}, {workflow}, {objects}, {details}
FROM {source} WHERE {who} IS NOT NULL
"""


def details_text(details: Mapping[str, Any]) -> str:
    """As JSON that is the same after it was decoded and encoded again: it is part of what is hashed."""
    return json.dumps(details, ensure_ascii=False, separators=(",", ":"))


_WRITTEN: Final = "act, key_id, who, address, workflow, objects, details"
_WRITE: Final = f"INSERT INTO audit_entries ({_WRITTEN}) VALUES ($1, $2, $3, $4, $5, $6, $7::text::json)"
_BY_OBJECT: Final = """
number = ANY (ARRAY(
    SELECT number FROM audit
    WHERE object_hashes(objects) @> object_hashes(ARRAY[{}::text]) AND objects @> ARRAY[{}::text]
))
"""
"""By the index: in the order of the numbers, all rows might have to be read."""
_COLUMNS: Final = """
number, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at, act, key_id, who, address, workflow,
    objects, details, previous, hash
"""
