"""What a new run may begin from: a request that came before, or a run that it forks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flowyard.errors import IdempotencyMismatch, UnknownRun
from flowyard.runs.run import Fork
from flowyard.storage.claims import fork_of
from flowyard.storage.database import Database


@dataclass(frozen=True, slots=True)
class Origin:
    """What a fork needs to know of the run that it leaves. `definition`: the stored document."""

    run_id: UUID
    workflow: str
    revision: int
    definition: int
    digest: str
    inputs: Mapping[str, Any]
    priority: int
    fork: Fork | None


class Submissions:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def answered(self, key: str, fingerprints: Collection[bytes]) -> UUID | None:
        """The run that this request has led to before. Raises IdempotencyMismatch for the key of another request.

        `fingerprints`: all that the request may have been recognised by then.
        """
        row = await self._database.row("SELECT id, fingerprint FROM runs WHERE key = $1", key)
        if row is None:
            return None
        if row["fingerprint"] not in fingerprints:
            raise IdempotencyMismatch(key.partition(":")[2])
        run_id: UUID = row["id"]
        return run_id

    async def origin(self, run_id: UUID) -> Origin:
        """Raises UnknownRun."""
        row = await self._database.row(
            "SELECT r.id AS run_id, r.workflow, r.revision, r.definition, d.digest, r.inputs, r.priority, r.fork"
            " FROM runs r JOIN definitions d ON d.id = r.definition WHERE r.id = $1",
            run_id,
        )
        if row is None:
            raise UnknownRun(str(run_id))
        values: dict[str, Any] = dict(row)
        return Origin(**values | {"fork": fork_of(values["fork"])})
