"""Values of an event that another row of its run has, too, are removed when it is stored, and restored when it is read.

A `model.called` has a row in `step_parts`, a `step.finished` one in `steps`, a `run.succeeded` that of its run: none of
them ever changes again. These events are stored as `called`, `finished` and `succeeded`, with the rest of their data.
How a step began and what its calls came to is also seen from its calls in the same commit. The first event of a run
that is no fork isn't stored at all.

Everybody who reads `events` reads it by `whole_entries`, or by `whole_rows`. Events that were stored before have all
their data.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from flowyard.runs.entries import CALL_FACTS, call_facts, seconds
from flowyard.runs.large_values import SIZES
from flowyard.runs.run import Entry, Spending
from flowyard.storage.database import Database
from flowyard.storage.packing import CALLED, FINISHED, SUCCEEDED, unpacked
from flowyard.storage.rows import CALL_COLUMNS, NO_ITEM, STEP_COLUMNS

_STORED_AS: Final = {"model.called": CALLED, "step.finished": FINISHED, "run.succeeded": SUCCEEDED}
_READ_AS: Final = {stored: kind for kind, stored in _STORED_AS.items()}
_USUAL: Final = {"finish_reason": "stop", "asks_json": False}
"""Of a call. Stored as null where it isn't known."""
_MODEL: Final = ("provider", "model")
_IN_CALL: Final = itemgetter(*(CALL_COLUMNS.index(name) for name in ("seq", "status", "part", *CALL_FACTS)))
_IN_STEP: Final = itemgetter(*(STEP_COLUMNS.index(name) for name in ("seq", "kind", "status", "duration_s")))
_REAL: Final = struct.Struct("f")

_Values: TypeAlias = tuple[Any, ...]
_Place: TypeAlias = tuple[Any, Any, Any]


def without_repeats(entries: Sequence[Entry], *, calls: Iterable[_Values], steps: Iterable[_Values]) -> list[Entry]:
    """As they are stored together with these rows of `step_parts` and `steps`."""
    # What has not ended has the number of an event that may be about something else.
    called = {seq: facts for seq, status, *facts in map(_IN_CALL, calls) if status not in ("reserved", "running")}
    ended = {seq: duration_s for seq, *is_end, duration_s in map(_IN_STEP, steps) if is_end == ["step", "succeeded"]}
    calls_of = _by_place(entry for entry in entries if entry.type == "model.called" and entry.seq in called)
    stored = []
    for entry in entries:
        own = calls_of[_place(entry)]
        match entry.type:
            case "step.started" if own:
                stored.append(_short_start(entry, own[0]))
            case "model.called" if entry.seq in called:
                stored.append(_short_call(entry, *called[entry.seq]))
            case "step.finished" if entry.seq in ended:
                facts = {"duration_s": seconds(_as_real(ended[entry.seq])), **_sums(own)}
                stored.append(_short(entry, _with_outputs(facts, entry)))
            case "run.succeeded":
                stored.append(_short(entry, _with_outputs({}, entry)))
            case _:
                stored.append(entry)
    return stored


def _short(entry: Entry, repeated: Mapping[str, Any]) -> Entry:
    """Without what is repeated. A fact that differs, for example since a column is less precise, is kept."""
    rest = {name: value for name, value in entry.data.items() if name not in repeated or repeated[name] != value}
    return Entry(entry.seq, entry.at, _STORED_AS[entry.type], rest)


def _short_call(entry: Entry, part: int, *facts: Any) -> Entry:
    read = dict(zip(CALL_FACTS, facts, strict=True))
    read["duration_s"], read["first_token_s"] = _as_real(read["duration_s"]), _as_real(read["first_token_s"])
    read["cost_usd"] = _as_numeric(read["cost_usd"])
    short = _short(entry, call_facts(read) | _USUAL)
    rest: dict[str, Any] = {name: None for name in _USUAL if name not in entry.data}
    if part != 1:
        rest["part"] = part
    return Entry(entry.seq, entry.at, short.type, {**short.data, **rest}) if rest else short


def _short_start(entry: Entry, first: Entry) -> Entry:
    """`first`: the first call of the step in the same commit."""
    if all(entry.data.get(name) == first.data[name] for name in _MODEL):
        rest = {name: value for name, value in entry.data.items() if name not in _MODEL}
        return Entry(entry.seq, entry.at, entry.type, rest)
    return entry._replace(data={**dict.fromkeys(_MODEL), **entry.data})


def _with_outputs(facts: dict[str, Any], entry: Entry) -> dict[str, Any]:
    """Outputs that aren't all in the event are kept in it, with the sizes of the others."""
    return facts if SIZES in entry.data else {**facts, "outputs": entry.data["outputs"]}


def _sums(calls: Sequence[Entry]) -> dict[str, Any]:
    """What a step's calls came to, as its end says it."""
    if len(calls) == 1:
        return {"calls": 1, **{name: calls[0].data[name] for name in ("tokens_in", "tokens_out", "cost_usd")}}
    sums = Spending()
    for call in calls:
        cost = call.data["cost_usd"]
        tokens = {name: call.data[name] for name in ("tokens_in", "tokens_out")}
        sums = sums.with_call(**tokens, cost_usd=Decimal(cost) if cost is not None else None)
    cost_usd = str(sums.cost_usd) if sums.cost_usd is not None else None
    return {"calls": sums.calls, "tokens_in": sums.tokens_in, "tokens_out": sums.tokens_out, "cost_usd": cost_usd}


def _as_real(value: float | None) -> Any:
    """As it comes out of a column of the type real."""
    return _REAL.unpack(_REAL.pack(value))[0] if value is not None else None


def _as_numeric(value: Decimal | None) -> Decimal | None:
    """As it comes out of a column of the type numeric."""
    return Decimal(f"{value:f}") if value is not None else None


def _by_place(calls: Iterable[Entry]) -> Mapping[_Place, list[Entry]]:
    by_place = defaultdict(list)
    for call in calls:
        by_place[_place(call)].append(call)
    return by_place


def _place(entry: Entry) -> _Place:
    data = entry.data
    return data.get("node"), data.get("visit"), data.get("item")


_QUEUED: Final = Entry(1, datetime.min.replace(tzinfo=UTC), "run.queued", {})
"""The first event of a run that is no fork, as far as it isn't in the run's row."""


class WholeEntries(NamedTuple):
    """`is_cut`: the last ones are left out, since their outputs would be too many bytes."""

    entries: list[Entry]
    is_cut: bool


async def whole_entries(
    database: Database, run_id: UUID, rows: Sequence[asyncpg.Record], *, after: int = 0, most_bytes: int | None
) -> WholeEntries:
    """The entries of rows of `events`: those with numbers greater than `after`. `rows`: the first that have some.

    `most_bytes`: of outputs that are put back, though at least those of one entry; None: none at all, they are empty.
    """
    packed = [unpacked(row["seq"], row["entries"]) for row in rows]
    shortened = [entry for entries in packed for entry in entries if _is_shortened(entry, after)]
    if after < 1 and not (packed and packed[0][0].seq == 1):
        packed.insert(0, [])
        shortened.insert(0, _QUEUED)
    if not shortened:
        return WholeEntries([entry for entries in packed for entry in entries if entry.seq > after], is_cut=False)
    lookups = [(run_id, place, *_lookup_of(entry)) for place, entry in enumerate(shortened)]
    repeated = {row["seq"]: row for row in await _look_up(database, lookups, most_bytes)}
    if not all(row["is_there"] for row in repeated.values()):
        # The run was deleted meanwhile, or never there.
        return WholeEntries([], is_cut=False)
    if shortened[0] is _QUEUED:
        packed[0].append(_QUEUED._replace(at=repeated[1]["created_at"]))
    whole = [entry for entries in packed for entry in _whole(entries, repeated) if entry.seq > after]
    end = min((seq for seq, row in repeated.items() if not row["fits"]), default=None)
    return WholeEntries([entry for entry in whole if end is None or entry.seq < end], is_cut=end is not None)


def patterns_of(kinds: Iterable[str]) -> list[str]:
    """Patterns for LIKE, few because each is compared with whole rows of `events`. A row that fits none of them has no
    entry of these types; another may have one.
    """
    names = [name for kind in kinds for name in (f"{kind.partition('.')[0]}.", f'{_STORED_AS.get(kind, "")}"')]
    return [f'%"{name}%' for name in dict.fromkeys(names) if name != '"']


async def whole_rows(
    database: Database, rows: Sequence[asyncpg.Record], *, most_bytes: int, kinds: Collection[str]
) -> list[list[Entry]]:
    """For each row of `events`, of any runs, its entries of these types. Fewer than `rows`, but at least one, if the
    outputs that are put back would be more than `most_bytes`. A run that was deleted meanwhile has no entries.
    """
    wanted = frozenset(kinds)
    packed = [_with_calls_of(row, wanted) for row in rows]
    lookups = [
        (rows[place]["run_id"], place, *_lookup_of(entry))
        for place, entries in enumerate(packed)
        for entry in entries
        if entry.type in _READ_AS
    ]
    repeated: dict[int, dict[int, asyncpg.Record]] = defaultdict(dict)
    end = len(rows)
    for row in await _look_up(database, lookups, most_bytes) if lookups else ():
        repeated[row["place"]][row["seq"]] = row
        end = end if row["fits"] else min(end, row["place"])
    return [
        [entry for entry in _whole(entries, repeated[place]) if entry.type in wanted]
        if all(row["is_there"] for row in repeated[place].values())
        else []
        for place, entries in enumerate(packed[:end])
    ]


def _with_calls_of(row: asyncpg.Record, wanted: Collection[str]) -> list[Entry]:
    """The entries of these types, and the calls that their data are taken from."""
    if not any(_READ_AS.get(kind, kind) in wanted for _, kind, _ in row["entries"]):
        return []
    entries = unpacked(row["seq"], row["entries"])
    kept = {entry.seq: entry for entry in entries if _READ_AS.get(entry.type, entry.type) in wanted}
    of_steps = {_place(entry) for entry in kept.values() if "node" in entry.data}
    return [e for e in entries if e.seq in kept or (e.type == CALLED and _place(e) in of_steps)]


async def _look_up(
    database: Database, lookups: Sequence[tuple[Any, ...]], most_bytes: int | None
) -> list[asyncpg.Record]:
    limit = most_bytes if most_bytes is not None else -1
    return await database.rows(_REPEATED, *map(list, zip(*lookups, strict=True)), limit)


def _is_shortened(entry: Entry, after: int) -> bool:
    """Whether rows have to be read for it: for an end only if it is wanted itself."""
    return entry.type == CALLED or (entry.type in _READ_AS and entry.seq > after)


def _lookup_of(entry: Entry) -> tuple[Any, ...]:
    """In the order of the arrays of `_REPEATED`."""
    # Outputs that aren't all in the event stay in their row.
    reads_outputs = entry is not _QUEUED and SIZES not in entry.data
    if "node" not in entry.data:
        return entry.seq, None, None, None, None, reads_outputs
    node, visit, item = _place(entry)
    part = entry.data.get("part", 1) if entry.type == CALLED else None
    return entry.seq, node, visit, NO_ITEM if item is None else item, part, reads_outputs


def _whole(entries: Sequence[Entry], repeated: Mapping[int, asyncpg.Record]) -> list[Entry]:
    """The entries of one row."""
    calls = {entry.seq: _whole_call(entry, repeated[entry.seq]) for entry in entries if entry.type == CALLED}
    calls_of = _by_place(calls.values())
    whole = []
    for entry in entries:
        own = calls_of[_place(entry)]
        match entry.type:
            case "step.started" if own:
                whole.append(_whole_start(entry, own[0]))
            case _ if entry.seq in calls:
                whole.append(calls[entry.seq])
            case "finished" if entry.seq in repeated:
                row = repeated[entry.seq]
                facts = {"duration_s": seconds(row["step_s"]), "outputs": row["outputs"] or {}, **_sums(own)}
                whole.append(_put_back(entry, facts))
            case "succeeded" if entry.seq in repeated:
                whole.append(_put_back(entry, {"outputs": repeated[entry.seq]["outputs"] or {}}))
            case _:
                whole.append(entry)
    return whole


def _whole_call(entry: Entry, row: asyncpg.Record) -> Entry:
    whole = _put_back(entry, {**call_facts(row), **_USUAL})
    left_out = {"part", *(name for name in _USUAL if whole.data[name] is None)}
    return whole._replace(data={name: value for name, value in whole.data.items() if name not in left_out})


def _whole_start(entry: Entry, first: Entry) -> Entry:
    known = {**{name: first.data[name] for name in _MODEL}, **entry.data}
    return entry._replace(data={name: value for name, value in known.items() if value is not None})


def _put_back(entry: Entry, facts: Mapping[str, Any]) -> Entry:
    place = {name: entry.data[name] for name in ("node", "visit", "item") if name in entry.data}
    return entry._replace(type=_READ_AS[entry.type], data={**place, **facts, **entry.data})


_REPEATED: Final = f"""
SELECT *, CASE WHEN fits THEN all_outputs END AS outputs FROM (
    SELECT *, coalesce(total <= $9 OR total = of_place, true) AS fits FROM (
        SELECT *, sum(bytes) OVER (ORDER BY place) AS total, sum(bytes) OVER (PARTITION BY place) AS of_place FROM (
            SELECT w.place, w.seq, {", ".join(f"p.{name}" for name in CALL_FACTS)}, s.duration_s AS step_s,
                r.created_at, coalesce(p.run_id, s.run_id, r.id) IS NOT NULL AS is_there,
                o.all_outputs, octet_length(o.all_outputs::text) AS bytes
            FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::int[], $6::int[], $7::int[], $8::bool[])
                AS w (run_id, place, seq, node, visit, item, part, reads_outputs)
            -- Each looked up by its primary key, however few rows the planner expects in the tables.
            LEFT JOIN LATERAL (
                SELECT * FROM step_parts WHERE w.part IS NOT NULL AND step_parts.seq = w.seq AND
                    (run_id, node, visit, item, part) = (w.run_id, w.node, w.visit, w.item, w.part)
                LIMIT 1
            ) p ON true
            LEFT JOIN LATERAL (
                SELECT run_id, duration_s, outputs FROM steps WHERE w.part IS NULL AND steps.seq = w.seq AND
                    (run_id, node, visit, item) = (w.run_id, w.node, w.visit, w.item)
                LIMIT 1
            ) s ON true
            LEFT JOIN LATERAL (
                SELECT id, created_at, outputs FROM runs WHERE w.node IS NULL AND id = w.run_id LIMIT 1
            ) r ON true
            CROSS JOIN LATERAL (
                SELECT CASE WHEN $9 >= 0 AND w.reads_outputs THEN coalesce(s.outputs, r.outputs) END AS all_outputs
            ) o
        ) found
    ) summed
) sized
"""  # noqa: S608  # names of columns
