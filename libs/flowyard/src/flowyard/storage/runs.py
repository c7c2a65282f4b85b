"""Runs: add, read, list. Their moves are in `moves`, their claims in `claims`, counts of them in `queue`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from uuid import UUID

from flowyard.access import Actor
from flowyard.errors.requests import IdempotencyMismatch, InvalidInputs, UnknownRun, UnknownWorkflow
from flowyard.errors.runs import CommitRefused
from flowyard.runs.entries import decode_failure
from flowyard.runs.run import ENGINE, Fork, NewRun, Run, Spending, Step
from flowyard.secrets.masking import hide_sealed
from flowyard.storage.audit import act_columns, act_of
from flowyard.storage.database import Database, dumps
from flowyard.storage.forks import fork_data, fork_of
from flowyard.storage.outputs import WHOLE, LargeOutputs
from flowyard.storage.rows import STEP_COLUMNS, step_values
from flowyard.storage.run_lists import RunFilter, newest_first
from flowyard.storage.shared import Shared

_MOST_ADDED: Final = 64
"""Runs that one statement adds."""
_MOST_READ: Final = 20
"""Runs that one statement reads: their inputs may be large."""


@dataclass(frozen=True, slots=True)
class ForkOrigin:
    """What a fork takes over from the run that it leaves. `definition`: the stored document."""

    run_id: UUID
    workflow: str
    revision: int
    definition: int
    digest: str
    inputs: Mapping[str, Any]
    priority: int
    fork: Fork | None


@dataclass(frozen=True, slots=True)
class PlainRun:
    """A run that is no fork. `inputs`: as JSON. `by`: who submits it; None: nobody whom the audit log would name."""

    run: NewRun
    inputs: str
    by: Actor | None = None

    @classmethod
    def of(cls, run: NewRun, *, by: Actor | None = None) -> PlainRun:
        """Raises InvalidInputs for what JSON can't hold."""
        return cls(run, _inputs_of(run), by)

    @property
    def values(self) -> tuple[Any, ...]:
        """In the order of PLAIN_COLUMNS."""
        run = self.run
        about = run.id, run.workflow, run.revision, run.definition, run.priority, run.max_attempts, run.timeout_s
        return *about, run.key, run.fingerprint, self.inputs, run.depth, on_finish_of(run)


@dataclass(frozen=True, slots=True)
class _Read:
    """`is_large`: its outputs have to be read apart."""

    run: Run
    is_large: bool


class Runs:
    """Adds runs, and reads them with their inputs and outputs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.large_outputs = LargeOutputs(database)
        self._adding = Shared(self._add_current, most=_MOST_ADDED)
        self._reading = Shared(partial(self._read, _GET), most=_MOST_READ)
        self._reading_ended = Shared(partial(self._read, _GET_ENDED), most=_MOST_READ)

    async def add_current(self, run: NewRun, *, by: Actor | None = None) -> tuple[UUID, bool] | None:
        """As `add`, for a run that is no fork; None if its revision isn't the workflow's current one any more.

        Runs that are added in the same moment share one statement.
        """
        if await self._adding.call(PlainRun.of(run, by=by)):
            return run.id, True
        return await self._earlier(run)

    async def add(
        self, run: NewRun, *, steps_before: int | None = None, steps: Sequence[Step] = (), by: Actor | None = None
    ) -> tuple[UUID, bool]:
        """Returns the run's id, and whether it is new: False if the same request with this key made a run before.

        `steps_before`: the number of an event of a fork's origin: the fork gets copies of the steps that ended before
        it. `steps`: the steps that the fork gets instead.

        Returns when it is on disk. Raises IdempotencyMismatch if another request came with the key, UnknownWorkflow if
        the workflow was deleted meanwhile, InvalidInputs for what JSON can't hold.
        """
        added = await self._database.value(
            _ADD,
            run.id,
            run.workflow,
            run.revision,
            run.definition,
            run.priority,
            run.max_attempts,
            run.timeout_s,
            run.key,
            run.fingerprint,
            _inputs_of(run),
            dumps(fork_data(run.fork)) if run.fork else None,
            run.fork.origin if run.fork else None,
            steps_before,
            ENGINE,
            list(run.leaves_at),
            *_columns_of_steps(run.id, steps),
            on_finish_of(run),
            *act_columns(by),
        )
        if added is not None:
            return run.id, True
        earlier = await self._earlier(run)
        if earlier is None:
            raise UnknownWorkflow(run.workflow)
        return earlier

    async def _earlier(self, run: NewRun) -> tuple[UUID, bool] | None:
        if run.key is None:
            return None
        earlier = await self.by_idempotency_key(run.key, {run.fingerprint})
        return (earlier, False) if earlier is not None else None

    async def _add_current(self, plain: Sequence[PlainRun]) -> list[bool]:
        # In the order of their keys: two statements that wait for each other's keys would never end.
        ordered = sorted(plain, key=lambda each: each.run.key or "")
        columns = zip(*((*each.values, *act_columns(each.by)) for each in ordered), strict=True)
        rows = await self._database.rows(_ADD_CURRENT, ENGINE, *map(list, columns))
        added = {row["run_id"] for row in rows}
        return [each.run.id in added for each in plain]

    async def by_idempotency_key(self, key: str, fingerprints: Collection[bytes | None]) -> UUID | None:
        """The run that an earlier request with this key made; None if there is none.

        `fingerprints`: all under which the present request may have been stored: the plain one, and one per sealing
        key. Raises IdempotencyMismatch if the stored fingerprint is none of these.
        """
        row = await self._database.row("SELECT id, fingerprint FROM runs WHERE key = $1", key)
        if row is None:
            return None
        if row["fingerprint"] not in fingerprints:
            raise IdempotencyMismatch(key.partition(":")[2])
        run_id: UUID = row["id"]
        return run_id

    async def get(self, run_id: UUID) -> Run:
        """Without its large outputs, but with their sizes. Raises UnknownRun.

        Runs that are read in the same moment share one statement.
        """
        read = await self._reading.call(run_id)
        if read is None:
            raise UnknownRun(str(run_id))
        return await self._whole(read)

    async def get_ended(self, run_id: UUID) -> Run | None:
        """As `get`; None if the run is open, or isn't there."""
        read = await self._reading_ended.call(run_id)
        return await self._whole(read) if read is not None else None

    async def _read(self, statement: str, run_ids: Sequence[UUID]) -> list[_Read | None]:
        rows = await self._database.rows(statement, list(run_ids), WHOLE)
        read = {row["id"]: _read_of(row) for row in rows}
        return [read.get(run_id) for run_id in run_ids]

    async def _whole(self, read: _Read) -> Run:
        run = read.run
        if not read.is_large:
            return run
        parted = await self.large_outputs.parted(run.id, run.last_seq)
        return replace(run, outputs=parted.kept, large_outputs=parted.large)

    async def workflow_of(self, run_id: UUID) -> str | None:
        """None if there is no such run."""
        name: str | None = await self._database.value("SELECT workflow FROM runs WHERE id = $1", run_id)
        return name

    async def document_of(self, run_id: UUID) -> str:
        """The document of a run's revision. Raises UnknownRun."""
        text = await self._database.value(
            "SELECT d.document FROM runs r JOIN definitions d ON d.id = r.definition WHERE r.id = $1", run_id
        )
        if text is None:
            raise UnknownRun(str(run_id))
        return str(text)

    async def fork_origin(self, run_id: UUID) -> ForkOrigin:
        """The inputs, which are still sealed, and other facts that a fork of this run takes over. Raises UnknownRun."""
        row = await self._database.row(_FORK_ORIGIN, run_id)
        if row is None:
            raise UnknownRun(str(run_id))
        values: dict[str, Any] = dict(row)
        return ForkOrigin(**values | {"fork": fork_of(values["fork"])})

    async def page(self, wanted: RunFilter, limit: int) -> list[Run]:
        """Newest first, at most `limit`; without their inputs and outputs."""
        clause, args = newest_first(wanted, limit)
        rows = await self._database.rows(f"{_SELECT_SHORT} {clause}", *args)
        return [_run({**row, "inputs": {}, "outputs": None}) for row in rows]

    async def ids(self, wanted: RunFilter, limit: int) -> list[UUID]:
        """As `page`, the ids alone."""
        clause, args = newest_first(wanted, limit)
        statement = f"SELECT r.id FROM runs r {clause}"  # noqa: S608  # no value
        return [row["id"] for row in await self._database.rows(statement, *args)]


_ORIGIN: Final = "row_to_json((SELECT facts FROM (SELECT forked_from AS origin) facts))"
_ADD: Final = """
WITH added AS (
    INSERT INTO runs (id, workflow, revision, definition, priority, max_attempts, timeout_s, key, fingerprint, inputs,
        fork, forked_from, engine, status, last_seq, depth, on_finish)
    SELECT $1::uuid, w.name, $3::int, $4::int, $5::smallint, $6::smallint, $7::real, $8::text, $9::bytea,
        $10::text::json, $11::text::json, $12::uuid,
        -- Steps that are copied as they are were recorded by the rules of their run.
        CASE WHEN $13::int IS NULL THEN $14::smallint ELSE (SELECT engine FROM runs WHERE id = $12) END, 'queued',
        CASE WHEN $12 IS NULL THEN 1 ELSE 2 END, coalesce((SELECT depth FROM runs WHERE id = $12), 0),
        $34::text::json
    FROM workflows w WHERE w.name = $2
    ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING
    RETURNING id, created_at, forked_from, last_seq
),
copied AS (
    INSERT INTO steps (run_id, node, visit, item, kind, status, seq, start_seq, tries, started_at, duration_s, handled,
        next, outputs, error)
    -- Their numbers become smaller than those of the fork's own events, which begin at 1.
    SELECT a.id, s.node, s.visit, s.item, s.kind, s.status, s.seq - $13::int, s.start_seq - $13::int, s.tries,
        s.started_at, s.duration_s, s.handled, s.next, s.outputs, s.error
    FROM added a JOIN steps s ON s.run_id = a.forked_from
    WHERE s.seq < $13::int AND (s.status = 'succeeded' OR s.status = 'failed' AND s.handled <> 'fail')
    RETURNING kind
),
given AS (
    INSERT INTO steps (run_id, node, visit, status, seq, started_at, item, kind, start_seq, tries, deadline, left_s,
        wake_at, duration_s, handled, next, outputs, error)
    SELECT s.run_id, s.node, s.visit, s.status, s.seq, s.started_at, s.item, s.kind, s.start_seq, s.tries, s.deadline,
        s.left_s, s.wake_at, s.duration_s, s.handled, s.next::json, s.outputs::json, s.error::json
    FROM added a JOIN unnest(
        $16::uuid[], $17::text[], $18::int[], $19::text[], $20::int[], $21::timestamptz[], $22::int[], $23::text[],
        $24::int[], $25::smallint[], $26::timestamptz[], $27::real[], $28::timestamptz[], $29::real[],
        $30::text[], $31::text[], $32::text[], $33::text[]
    ) AS s (
        run_id, node, visit, status, seq, started_at, item, kind, start_seq, tries, deadline, left_s, wake_at,
        duration_s, handled, next, outputs, error
    ) ON s.run_id = a.id
    RETURNING kind
),
queued AS (
    SELECT json_build_array(
        (extract(epoch FROM created_at) * 1000000)::bigint, 'run.queued', json_build_object()
    ) AS entry
    FROM added
),
forked AS (
    SELECT json_build_array(0, 'run.forked', json_build_object(
        'origin', forked_from,
        'kept', (SELECT count(*) FROM (TABLE copied UNION ALL TABLE given) kept WHERE kind = 'step'),
        'leaves_at', $15::text[]
    )) AS entry
    FROM added WHERE forked_from IS NOT NULL
),
-- The first event of other runs isn't stored: see `repeats`.
new_events AS (
    INSERT INTO events (run_id, seq, entries)
    SELECT a.id, a.last_seq, json_build_array(queued.entry, forked.entry)
    FROM added a CROSS JOIN queued CROSS JOIN forked
),
act AS (ACT)
SELECT id FROM added
""".replace("ACT", act_of("run.forked", 35, "added", objects="ARRAY[id::text]", workflow="$2", details=_ORIGIN))

PLAIN_COLUMNS: Final = (
    "id, workflow, revision, definition, priority, max_attempts, timeout_s, key, fingerprint, inputs, depth, on_finish"
)
PLAIN_ARRAYS: Final = (
    "uuid[]", "text[]", "int[]", "int[]", "smallint[]", "smallint[]", "real[]", "text[]", "bytea[]", "text[]",
    "smallint[]", "text[]",
)  # fmt: skip
"""The types of arrays with the values of many plain runs."""
IS_CURRENT: Final = """
JOIN workflows w ON w.name = g.workflow AND w.revision = g.revision
-- A workflow that was deleted and applied again counts its revisions from 1 again.
JOIN revisions v ON v.workflow = w.name AND v.number = w.revision AND v.definition = g.definition
"""

_ACTORS: Final = ", ".join(f"${i}::text[]" for i in range(len(PLAIN_ARRAYS) + 2, len(PLAIN_ARRAYS) + 5))
_ADD_CURRENT: Final = f"""
WITH added AS (
    INSERT INTO runs ({PLAIN_COLUMNS}, engine, status, last_seq)
    SELECT g.id, g.workflow, g.revision, g.definition, g.priority, g.max_attempts, g.timeout_s, g.key, g.fingerprint,
        g.inputs::json, g.depth, g.on_finish::json, $1::smallint, 'queued', 1
    FROM unnest({", ".join(f"${i}::{kind}" for i, kind in enumerate(PLAIN_ARRAYS, start=2))})
    WITH ORDINALITY AS g ({PLAIN_COLUMNS}, place)
    {IS_CURRENT}
    ORDER BY g.place
    ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING
    RETURNING id, workflow
),
-- One row for all runs of one workflow that one key has submitted in this moment.
acts AS (
    INSERT INTO audit_entries (act, key_id, who, address, workflow, objects)
    SELECT 'run.submitted', g.key_id, g.who, g.address, added.workflow, array_agg(added.id::text)
    FROM added JOIN unnest($2::uuid[], {_ACTORS}) AS g (id, key_id, who, address) USING (id)
    WHERE g.who IS NOT NULL
    GROUP BY g.key_id, g.who, g.address, added.workflow
)
SELECT id AS run_id FROM added
"""  # noqa: S608  # constants

_COLUMNS: Final = """
SELECT r.id, r.workflow, r.revision, d.digest, r.status, r.priority, r.attempt, r.created_at, r.started_at,
    r.finished_at, r.wake_at, r.cancel_requested_at IS NOT NULL AS cancel_requested, c.executor,
    r.worked_s + CASE WHEN r.status = 'running' AND c.claimed_at IS NOT NULL
        THEN greatest(0, extract(epoch FROM now() - c.claimed_at)) ELSE 0 END AS worked_s,
    coalesce(c.last_seq, r.last_seq) AS last_seq, r.error, r.forked_from, r.session_id, spent.*
"""
SPENDING: Final = """count(*) AS calls,
        CASE WHEN count(*) = count(m.tokens_in) THEN coalesce(sum(m.tokens_in), 0) END AS tokens_in,
        CASE WHEN count(*) = count(m.tokens_out) THEN coalesce(sum(m.tokens_out), 0) END AS tokens_out,
        CASE WHEN count(*) = count(m.cost_usd) THEN coalesce(sum(m.cost_usd), 0) END AS cost_usd"""
"""Of the model calls `m`. Unknown is not zero."""
_FROM: Final = f"""
FROM runs r
JOIN definitions d ON d.id = r.definition
LEFT JOIN claims c ON c.run_id = r.id
CROSS JOIN LATERAL (
    SELECT {SPENDING}
    FROM model_calls m WHERE m.run_id = r.id
) spent
"""  # noqa: S608  # a constant
_SELECT_SHORT: Final = _COLUMNS + _FROM
_GET: Final = f"""
{_COLUMNS}, r.inputs, CASE WHEN octet_length(r.outputs::text) <= $2 THEN r.outputs END AS outputs,
    r.outputs IS NOT NULL AS has_outputs
{_FROM}
WHERE r.id = ANY($1)
"""
_GET_ENDED: Final = f"{_GET} AND r.finished_at IS NOT NULL"

_FORK_ORIGIN: Final = """
SELECT r.id AS run_id, r.workflow, r.revision, r.definition, d.digest, r.inputs, r.priority, r.fork
FROM runs r JOIN definitions d ON d.id = r.definition WHERE r.id = $1
"""


def _columns_of_steps(run_id: UUID, steps: Sequence[Step]) -> tuple[list[Any], ...]:
    """One array per column. Their numbers become smaller than those of the run's own events, which begin at 1."""
    end = max((step.seq for step in steps), default=0)
    rows = [step_values(run_id, step._replace(seq=step.seq - end, start_seq=None)) for step in steps]
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    return columns or tuple([] for _ in STEP_COLUMNS)


def _inputs_of(run: NewRun) -> str:
    try:
        return dumps(dict(run.inputs))
    except CommitRefused as error:
        raise InvalidInputs([str(error.__cause__)]) from error


def on_finish_of(run: NewRun) -> str | None:
    """What is stored of the receivers of the run's end; None: nobody is told, so that its end costs no more."""
    return dumps([receiver.data(run.workflow) for receiver in run.on_finish]) if run.on_finish else None


def _read_of(row: Mapping[str, Any]) -> _Read:
    values = dict(row)
    is_large = values.pop("has_outputs") and values["outputs"] is None
    return _Read(_run(values), is_large)


def _run(row: Mapping[str, Any]) -> Run:
    values = dict(row)
    spending = Spending(*(values.pop(name) for name in ("calls", "tokens_in", "tokens_out", "cost_usd")))
    error = values.pop("error")
    # Sealed values are for the run's executor, and for its forks.
    values["inputs"] = hide_sealed(values["inputs"])
    return Run(**values, error=decode_failure(error) if error else None, spending=spending)
