"""Which runs a list contains, and the clauses of its statement."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from flowyard.runs.run import STATES, State
from flowyard.storage.filters import among, where

_GREATEST: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list contains: those that have all of this. `before`: only runs that were made before this one.

    `workflows`: only runs of these; None: of all.
    """

    workflow: str | None = None
    workflows: Collection[str] | None = None
    statuses: Collection[State] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None
    forked_from: UUID | None = None
    before: UUID | None = None


def newest_first(wanted: RunFilter, limit: int) -> tuple[str, list[Any]]:
    """The clauses of a list, and their arguments. By workflow, pairs are compared and ordered: see `overview`."""
    if wanted.workflow is None and wanted.workflows is not None:
        return _newest_of_each(wanted, sorted(wanted.workflows), limit)
    workflow, before = wanted.workflow, wanted.before
    clause, args = where(
        ("(r.workflow, r.id) >= ({}, '00000000-0000-0000-0000-000000000000'::uuid)", workflow),
        (
            "(r.workflow, r.id) <= ({}, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)",
            workflow if before is None else None,
        ),
        ("(r.workflow, r.id) < ({}, {})", workflow, before),
        *_filters(wanted),
        ("r.id < {}", before if workflow is None else None),
    )
    order = f"ORDER BY {'r.workflow DESC, ' if workflow is not None else ''}r.id DESC"
    return f"{clause} {order} LIMIT ${len(args) + 1}", [*args, limit]


def _newest_of_each(wanted: RunFilter, workflows: list[str], limit: int) -> tuple[str, list[Any]]:
    """The newest runs of each workflow, and of these the newest: each workflow is read in the order of its index."""
    clause, args = where(
        ("{}::text[] IS NOT NULL", workflows),
        ("(r.workflow, r.id) >= (own.name, '00000000-0000-0000-0000-000000000000'::uuid)",),
        ("(r.workflow, r.id) < (own.name, {})", wanted.before or _GREATEST),
        *_filters(wanted),
    )
    most = f"${len(args) + 1}"
    newest = f"SELECT r.id FROM runs r {clause} ORDER BY r.workflow DESC, r.id DESC LIMIT {most}"  # noqa: S608  # no value
    of_each = f"unnest($1::text[]) AS own(name) CROSS JOIN LATERAL ({newest}) newest"
    ids = f"SELECT newest.id FROM {of_each} ORDER BY newest.id DESC LIMIT {most}"  # noqa: S608  # no value
    return f"WHERE r.id = ANY (ARRAY({ids})) ORDER BY r.id DESC", [*args, limit]


def _filters(wanted: RunFilter) -> list[tuple[Any, ...]]:
    """Of `where`, those that don't depend on the order."""
    return [
        (among("r.status", wanted.statuses, STATES), wanted.statuses or None),
        ("r.created_at >= {}", wanted.created_from),
        ("r.created_at < {}", wanted.created_to),
        ("r.forked_from = {}", wanted.forked_from),
    ]
