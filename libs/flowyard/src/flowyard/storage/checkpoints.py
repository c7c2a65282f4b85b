"""Checkpoints: where a run would resume. Written here only outside of a claim; under one, by `commits`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from flowyard.storage.database import Database, dumps


@dataclass(frozen=True, slots=True)
class Stored:
    """One checkpoint with the results of steps that ended after it: (task id, index, channel, value, task path)."""

    thread_id: str
    ns: str
    id: str
    parent: str | None
    checkpoint: Mapping[str, Any]
    metadata: Mapping[str, Any]
    values: Mapping[str, Any]
    writes: Sequence[tuple[str, int, str, Any, str]]


class Checkpoints:
    """All of them; `thread_id` is a run's id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, thread_id: str, ns: str, checkpoint_id: str | None) -> Stored | None:
        """None as `checkpoint_id`: the one whose id sorts last. Ids are made by one process in order of time."""
        row = await self._database.row(
            f"{_SELECT} WHERE thread_id = $1 AND ns = $2 AND ($3::text IS NULL OR id = $3) ORDER BY id DESC LIMIT 1",
            thread_id,
            ns,
            checkpoint_id,
        )
        return await self._complete(row) if row is not None else None

    async def every(
        self,
        thread_id: str | None,
        ns: str | None,
        *,
        before: str | None,
        metadata: Mapping[str, Any],
        most: int | None,
    ) -> AsyncIterator[Stored]:
        """Newest first. `metadata`: only those that have each of these values."""
        rows = await self._database.rows(
            f"{_SELECT} WHERE ($1::text IS NULL OR thread_id = $1) AND ($2::text IS NULL OR ns = $2)"
            " AND ($3::text IS NULL OR id < $3) AND metadata::jsonb @> $4::text::jsonb ORDER BY id DESC LIMIT $5",
            thread_id,
            ns,
            before,
            dumps(metadata),
            most,
        )
        for row in rows:
            yield await self._complete(row)

    async def add(self, thread_id: str, row: tuple[Any, ...], values: Sequence[tuple[str, str]]) -> None:
        """`row`: ns, id, parent, checkpoint, metadata; `values`: digest and JSON of each large value."""
        for digest, value in values:
            await self._database.execute(
                "INSERT INTO checkpoint_values (thread_id, digest, value) VALUES ($1, $2, $3::text::json)"
                " ON CONFLICT DO NOTHING",
                thread_id,
                digest,
                value,
            )
        await self._database.execute(
            "INSERT INTO checkpoints (thread_id, ns, id, parent, checkpoint, metadata)"
            " VALUES ($1, $2, $3, $4, $5::text::json, $6::text::json) ON CONFLICT (thread_id, ns, id)"
            " DO UPDATE SET checkpoint = excluded.checkpoint, metadata = excluded.metadata",
            thread_id,
            *row,
        )

    async def add_writes(self, thread_id: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Each row: ns, checkpoint id, task id, index, task path, channel, value. The last write of a place counts."""
        for row in rows:
            await self._database.execute(
                "INSERT INTO checkpoint_writes"
                " (thread_id, ns, checkpoint_id, task_id, index, task_path, channel, value)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json)"
                " ON CONFLICT (thread_id, ns, checkpoint_id, task_id, index) DO UPDATE SET value = excluded.value",
                thread_id,
                *row,
            )

    async def delete(self, thread_id: str) -> None:
        for table in ("checkpoints", "checkpoint_writes", "checkpoint_values"):
            await self._database.execute(f"DELETE FROM {table} WHERE thread_id = $1", thread_id)  # noqa: S608  # ours

    async def _complete(self, row: asyncpg.Record) -> Stored:
        values = await self._database.rows(
            "SELECT digest, value FROM checkpoint_values WHERE thread_id = $1 AND digest = ANY($2)",
            row["thread_id"],
            list(row["checkpoint"].get("refs", {}).values()),
        )
        writes = await self._database.rows(
            "SELECT task_id, index, channel, value, task_path FROM checkpoint_writes"
            " WHERE thread_id = $1 AND ns = $2 AND checkpoint_id = $3",
            row["thread_id"],
            row["ns"],
            row["id"],
        )
        large = {value["digest"]: value["value"] for value in values}
        return Stored(**dict(row), values=large, writes=[tuple(write.values()) for write in writes])


_SELECT = "SELECT thread_id, ns, id, parent, checkpoint, metadata FROM checkpoints"
