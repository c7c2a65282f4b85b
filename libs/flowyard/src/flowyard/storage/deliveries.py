"""Deliveries: what came for triggers. One statement inserts a delivery, its key, and the run that it starts."""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from flowyard.access import Actor
from flowyard.errors.requests import UnknownDelivery
from flowyard.runs.deliveries import (
    ACCEPTED,
    DEDUPLICATED_S,
    DONE,
    Delivery,
    DeliveryDetail,
    NewDelivery,
    Outcome,
    copy_status,
)
from flowyard.runs.run import ENGINE, NewRun
from flowyard.storage.audit import write_act
from flowyard.storage.database import Database
from flowyard.storage.filters import where
from flowyard.storage.runs import IS_CURRENT, PLAIN_ARRAYS, PLAIN_COLUMNS, PlainRun
from flowyard.storage.shared import Shared

_MOST_ADDED: Final = 64
"""Deliveries that one statement adds."""


@dataclass(frozen=True, slots=True)
class First:
    """The delivery that a repeated one is a copy of. `run_id`: that it has started."""

    id: UUID
    run_id: UUID | None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a list contains: those that have all of this. `before`: only those that came before this one."""

    workflow: str | None = None
    trigger: str | None = None
    outcome: Outcome | None = None
    run_id: UUID | None = None
    before: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Start:
    delivery: NewDelivery
    run: PlainRun
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _SameMoment:
    """A copy of a delivery that the statement couldn't see, because it came in the same moment, or is a day old."""


class Deliveries:
    """Adds deliveries, with their runs, and reads them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._starting = Shared(self._start, most=_MOST_ADDED)
        self._adding = Shared(self._add, most=_MOST_ADDED)

    async def start(self, delivery: NewDelivery, run: NewRun, *, sent_at: datetime | None = None) -> First | None:
        """Adds both, and returns the delivery itself; or adds the delivery as a copy, and returns the first one.

        None: the trigger isn't live any more, or not in this revision. `sent_at`: if it may come late: it
        is a copy of what came within a day before that, or later.

        Returns when it is on disk. Deliveries of the same moment share one statement. Raises InvalidInputs for what
        JSON can't hold.
        """
        start = _Start(delivery, PlainRun.of(run), sent_at)
        while True:
            answer = await self._starting.call(start)
            if not isinstance(answer, _SameMoment):
                return answer
            first = await self._first(delivery.key or "", sent_at)
            if first is not None:
                await self.add(replace(delivery, **COPY, run_id=first.run_id, status=copy_status(delivery.status)))
                return first

    async def replay(self, delivery: NewDelivery, run: NewRun, *, by: Actor) -> bool:
        """Adds both, and writes down who has done it. False: the trigger isn't live any more, or not in this revision.

        Raises InvalidInputs for what JSON can't hold.
        """
        args = _arguments([_Start(replace(delivery, key=None), PlainRun.of(run))])
        async with self._database.transaction() as connection:
            added = await connection.fetch(_START, ENGINE, *args, DEDUPLICATED_S)
            if added:
                objects = [str(delivery.id), str(run.id)]
                details = {"replays": str(delivery.replays)}
                await write_act(
                    connection, "delivery.replayed", by, workflow=run.workflow, objects=objects, details=details
                )
        return bool(added)

    async def add(self, delivery: NewDelivery) -> None:
        """A delivery that starts nothing."""
        await self._adding.call(delivery)

    async def set_status(self, delivery_id: UUID, status: int) -> None:
        """Of the response, if that had to wait for the run."""
        await self._database.execute("UPDATE deliveries SET status = $2 WHERE id = $1", delivery_id, status)

    async def get(self, delivery_id: UUID) -> DeliveryDetail:
        """Raises UnknownDelivery."""
        row = await self._database.row(_GET, delivery_id)
        if row is None:
            raise UnknownDelivery(str(delivery_id))
        return DeliveryDetail(**row)

    async def page(self, wanted: DeliveryFilter, limit: int) -> list[Delivery]:
        """Newest first, at most `limit`."""
        clause, args = where(
            ("workflow = {}", wanted.workflow),
            ("trigger = {}", wanted.trigger),
            ("outcome = {}", wanted.outcome),
            ("run_id = {}", wanted.run_id),
            ("id < {}", wanted.before),
        )
        statement = f"SELECT {_LISTED} FROM deliveries {clause} ORDER BY id DESC LIMIT ${len(args) + 1}"
        return [Delivery(**row) for row in await self._database.rows(statement, *args, limit)]

    async def _start(self, starts: Sequence[_Start]) -> list[First | _SameMoment | None]:
        # In the order of their keys: two statements that wait for each other's keys would never end.
        ordered = sorted(starts, key=lambda start: start.delivery.key or "")
        rows = await self._database.rows(_START, ENGINE, *_arguments(ordered), DEDUPLICATED_S)
        firsts = {row["id"]: _first_of(row) for row in rows}
        return [firsts.get(start.delivery.id) for start in starts]

    async def _add(self, deliveries: Sequence[NewDelivery]) -> list[None]:
        await self._database.execute(_ADD, *map(list, zip(*map(_values, deliveries), strict=True)))
        return [None] * len(deliveries)

    async def _first(self, key: str, sent_at: datetime | None) -> First | None:
        """The delivery that has the key. None: it is too old, and has the key no more."""
        row = await self._database.row(_FIRST, key, DEDUPLICATED_S, sent_at)
        return First(row["id"], row["run_id"]) if row is not None else None


_KINDS: Final[Mapping[str, str]] = {
    "id": "uuid", "run_id": "uuid", "replays": "uuid", "body_size": "int", "status": "smallint", "digest": "bytea",
    "fire_at": "timestamptz",
}  # fmt: skip
"""The types of columns; of the others, text."""
COPY: Final[Mapping[str, Any]] = {"outcome": "repeated", "key": None}
_JSON: Final = frozenset({"query", "headers", "payload"})
_NAMES: Final = tuple(field.name for field in fields(NewDelivery))
_COLUMNS: Final = ", ".join(_NAMES)


def _first_of(row: Mapping[str, Any]) -> First | _SameMoment:
    return First(row["first"], row["run_id"]) if row["first"] is not None else _SameMoment()


def _arguments(starts: Sequence[_Start]) -> list[list[Any]]:
    runs = zip(*(start.run.values for start in starts), strict=True)
    columns = zip(*(_values(start.delivery) for start in starts), strict=True)
    return [*map(list, runs), *map(list, columns), [start.sent_at for start in starts]]


def _values(delivery: NewDelivery) -> tuple[Any, ...]:
    return tuple(getattr(delivery, name) for name in _NAMES)


def _arrays(first: int) -> str:
    return ", ".join(f"${i}::{_KINDS.get(name, 'text')}[]" for i, name in enumerate(_NAMES, start=first))


def _selected(alias: str, **other: str) -> str:
    """The columns of a row. `other`: the expressions for those that come from elsewhere."""
    own = {name: f"{alias}.{name}::json" if name in _JSON else f"{alias}.{name}" for name in _NAMES}
    return ", ".join((own | other).values())


_AFTER: Final = 2 + len(PLAIN_ARRAYS) + len(_NAMES)
"""The number of the parameter after the arrays of all columns."""
_COPY_STATUS: Final = f"CASE WHEN d.status = {ACCEPTED} THEN {DONE} ELSE d.status END"


_ADD: Final = f"""
INSERT INTO deliveries ({_COLUMNS}) SELECT {_selected("d")} FROM unnest({_arrays(1)}) AS d ({_COLUMNS})
"""

_START: Final = f"""
WITH given AS (
    SELECT * FROM unnest({", ".join(f"${i}::{kind}" for i, kind in enumerate(PLAIN_ARRAYS, start=2))})
    WITH ORDINALITY AS g ({PLAIN_COLUMNS}, place)
),
deliveries_given AS (
    SELECT * FROM unnest({_arrays(2 + len(PLAIN_ARRAYS))}, ${_AFTER}::timestamptz[])
    WITH ORDINALITY AS d ({_COLUMNS}, sent_at, place)
),
live AS (
    SELECT g.place FROM given g JOIN deliveries_given d ON d.place = g.place
    {IS_CURRENT}
    JOIN triggers t ON t.workflow = g.workflow AND t.name = d.trigger AND t.revision = g.revision
        AND t.enabled AND t.paused_at IS NULL
),
earlier AS (
    SELECT d.place, e.id, e.run_id FROM deliveries_given d JOIN live ON live.place = d.place
    JOIN deliveries e ON e.key = d.key
        AND e.received_at > coalesce(d.sent_at, now()) - make_interval(secs => ${_AFTER + 1})
),
copies AS (
    INSERT INTO deliveries ({_COLUMNS})
    SELECT {_selected("d", run_id="e.run_id", outcome="'repeated'", key="NULL", status=_COPY_STATUS)}
    FROM deliveries_given d JOIN earlier e ON e.place = d.place
),
added AS (
    INSERT INTO deliveries ({_COLUMNS})
    SELECT {_selected("d")} FROM deliveries_given d JOIN live ON live.place = d.place
    WHERE NOT EXISTS (SELECT FROM earlier WHERE earlier.place = d.place)
    ORDER BY d.place
    ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING
    RETURNING id
),
started AS (
    INSERT INTO runs ({PLAIN_COLUMNS}, engine, status, last_seq)
    SELECT g.id, g.workflow, g.revision, g.definition, g.priority, g.max_attempts, g.timeout_s, g.key, g.fingerprint,
        g.inputs::json, g.depth, g.on_finish::json, $1::smallint, 'queued', 1
    FROM given g JOIN deliveries_given d ON d.place = g.place JOIN added ON added.id = d.id
)
-- Neither added nor a copy: another one with its key has come in the same moment, or a day ago.
SELECT d.id, coalesce(added.id, e.id) AS first, CASE WHEN added.id IS NULL THEN e.run_id ELSE d.run_id END AS run_id
FROM deliveries_given d JOIN live ON live.place = d.place
LEFT JOIN added ON added.id = d.id
LEFT JOIN earlier e ON e.place = d.place
"""

# A key that is too old is given up here, and not by a sweep, which could come too late.
_FIRST: Final = """
WITH given_up AS (
    UPDATE deliveries SET key = NULL
    WHERE key = $1 AND received_at <= coalesce($3::timestamptz, now()) - make_interval(secs => $2)
)
SELECT id, run_id FROM deliveries
WHERE key = $1 AND received_at > coalesce($3::timestamptz, now()) - make_interval(secs => $2)
"""

_LISTED: Final = ", ".join(field.name for field in fields(Delivery))
_GET: Final = f"""
SELECT {_LISTED}, query, headers, payload, payload IS NOT NULL AS has_payload FROM deliveries WHERE id = $1
"""
