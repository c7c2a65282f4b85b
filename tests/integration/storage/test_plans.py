"""With a million runs, no statement that runs often reads more of a table than what it is about.

The plans are those that services get: one for a statement, whatever its values (see `_SETTINGS` of the database).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from flowyard.runs.run import STATES
from flowyard.storage.commits import COMMIT
from flowyard.storage.database import Database
from flowyard.storage.exports import Exports
from flowyard.storage.history import History
from flowyard.storage.moves import Moves
from flowyard.storage.overview import Overview
from flowyard.storage.profiles import Profiles
from flowyard.storage.queue import QueueMeasures
from flowyard.storage.retention import Retention
from flowyard.storage.run_lists import RunFilter
from flowyard.storage.runs import Runs
from flowyard_embedded.servers.postgres import PostgresServer
from support.queued import new_run
from support.servers import create_database, drop_database
from support.statements import Watched
from support.stored import LONG_AGO, Stored, open_stored

pytestmark = [pytest.mark.rare, pytest.mark.timeout(600)]

RUNS: Final = 1_000_000
LARGE: Final = frozenset({"runs", "events", "steps", "step_parts"})
OF_OPEN_RUNS: Final = frozenset({"ix_runs_queued", "ix_runs_held", "ix_runs_alone"})
"""Whoever reads one of them as a whole reads the runs that are open, and no others."""
_EXPLAIN: Final = """
CREATE FUNCTION plan_of(statement text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (GENERIC_PLAN, FORMAT JSON) ' || statement INTO plan;
    RETURN plan;
END
$$
"""
"""Postgres takes placeholders without values only from its own language."""
LONG: Final = frozenset({"page of succeeded", "retention"})
"""Most runs have succeeded; and every ten minutes the oldest runs are looked at, until one is too new."""
READS_ALL: Final = frozenset({"Sort", "Aggregate", "WindowAgg", "Hash", "ModifyTable", "Materialize"})
"""Nodes that read all of their input before they return a row."""

_INDEXES: Final = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY($1)"
_PRIMARY_KEYS: Final = "SELECT conname, conrelid::regclass::text AS name FROM pg_constraint WHERE contype = 'p'"
_FILL: Final = (
    """
    INSERT INTO runs (id, definition, revision, last_seq, priority, attempt, engine, max_attempts, created_at,
        queued_at, started_at, finished_at, workflow, status, inputs, outputs)
    SELECT (lpad(to_hex(1767225600000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, d.id, 1, 5, 0, 1,
        1, 3, at, at, at, at, 'test', CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END, '{}', '{}'
    FROM (SELECT min(id) AS id FROM definitions) d, generate_series(1, $1::int) n,
        LATERAL (SELECT to_timestamp(1767225600 + n / 1000.0) AS at) times
    """,
    """
    INSERT INTO steps (run_id, visit, item, seq, start_seq, tries, duration_s, started_at, node, status, outputs)
    SELECT id, 1, -1, 4, 2, 1, 0.5, created_at, 'write', 'succeeded', '{}' FROM runs ORDER BY id LIMIT $1
    """,
    """
    INSERT INTO step_parts (run_id, seq, visit, item, part, duration_s, at, node, provider, model)
    SELECT id, 3, 1, -1, 1, 0.5, created_at, 'write', 'openai', 'small' FROM runs ORDER BY id LIMIT $1
    """,
    """
    INSERT INTO events (run_id, seq, entries)
    SELECT id, 5,
        '[[1767225600000000,"step.started",{"n":"write"}],[0,"called",{}],[0,"finished",{}],[0,"succeeded",{}]]'
    FROM runs ORDER BY id LIMIT $1
    """,
)


@pytest.fixture
async def full(postgres: PostgresServer, template_database: str) -> AsyncIterator[Stored]:
    name = create_database(postgres, template_database)
    async with open_stored(postgres.url_of(name).get_secret_value(), timeout_s=500) as stored:
        await stored.workflow()
        await _fill(stored.database)
        await stored.database.rows(_EXPLAIN)
        yield stored
    drop_database(postgres, name)


async def _fill(database: Database) -> None:
    """Indexes are made afterwards: that takes a fraction of the time."""
    indexes = await database.rows(_INDEXES, sorted(LARGE))
    for key in await database.rows(_PRIMARY_KEYS):
        if key["name"] in LARGE:
            await database.rows(f"ALTER TABLE {key['name']} DROP CONSTRAINT {key['conname']}")
    for index in indexes:
        await database.rows(f"DROP INDEX IF EXISTS {index['indexname']}")
    for statement in _FILL:
        await database.execute(statement, RUNS)
    for index in indexes:
        await database.rows(index["indexdef"])
    for table in sorted(LARGE):
        await database.rows(f"ANALYZE {table}")


async def statements_of(full: Stored) -> dict[str, str]:
    """What is sent for everything that happens often, by what it is for."""
    watched = Watched(full.database)
    texts = {"commit": COMMIT, "claim": await _query_of_claim(full.database)}

    async def add(name: str, *sent: object) -> None:
        assert watched.statements, name
        texts.update((f"{name} {number}".removesuffix(" 1"), text) for number, text in enumerate(watched.statements, 1))
        watched.statements.clear()

    runs, history, run_id = (
        Runs(watched),
        History(watched),
        await full.database.value("SELECT id FROM runs ORDER BY id DESC LIMIT 1"),
    )
    await add("submit", await runs.add_current(new_run(await full.workflows.head("test"))))
    await add("result", await runs.get_ended(run_id))
    await add("events", await history.page(run_id))
    await add("last events", await history.newest([run_id]))
    await add("steps", await history.steps(run_id))
    await add("calls", await history.calls(run_id))
    await add("texts", await history.texts(run_id))
    await add("open steps", await history.open_steps(run_id))
    await add("replay", await history.snapshot(run_id, 1), await history.ended(run_id, 0, 9))
    await add("profile", await Profiles(watched).entries(run_id))
    await add("sweep", await Moves(watched).sweep())
    queue = QueueMeasures(watched)
    await add("queue", await queue.queued(9), await queue.depths())
    await add("old in the queue", await queue.oldest_queued_s(), await queue.orphaned())
    await add("alone", await queue.waits_for_room(longer_than_s=1))
    await add("pages", await runs.page(RunFilter(), 50), await runs.page(RunFilter(before=run_id), 50))
    await add(
        "workflow", await runs.page(RunFilter(workflow="test"), 50), await runs.ids(RunFilter(workflow="test"), 9)
    )
    await add("workflow's next page", await runs.page(RunFilter(workflow="test", before=run_id), 50))
    own = RunFilter(workflows=["other", "test"])
    await add("some workflows", await runs.page(own, 50), await runs.page(replace(own, before=run_id), 50))
    for status in STATES:
        await add(f"page of {status}", await runs.page(RunFilter(statuses=[status]), 50))
    await add("retention", await Retention(watched).delete_runs(older_than_s=10**9))
    await add("exports", await Exports(watched).take("nowhere", 10, lease_s=1))
    overview, profiles = Overview(watched), Profiles(watched)
    await add("overview", await overview.activity(["test"], now_ms=1767225600000), await overview.since(LONG_AGO))
    for workflows in (["test"], None):
        await add(f"runs of {workflows}", await profiles.finished(workflows=workflows, since=LONG_AGO, most=9))
    return texts


async def _query_of_claim(database: Database) -> str:
    """What the function executes, with numbers in place of its parameters."""
    body = await database.value("SELECT prosrc FROM pg_proc WHERE proname = 'claim_runs' AND pronargs = 6")
    query = str(body).split("RETURN QUERY", 1)[1].rsplit(";", 1)[0]
    types = ("text", "integer", "interval", "smallint[]", "boolean", "boolean")
    names = ("p_executor", "p_most", "p_lease", "p_engines", "p_with_steps", "p_alone")
    for number, (name, kind) in enumerate(zip(names, types, strict=True), 1):
        query = re.sub(rf"\b{name}\b", f"${number}::{kind}", query)
    return query


async def plan_of(database: Database, statement: str) -> dict[str, Any]:
    [explained] = await database.value("SELECT plan_of($1)", statement)
    plan: dict[str, Any] = explained["Plan"]
    return plan


def nodes_of(plan: dict[str, Any], *, limited: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each node of a plan, and whether it is read only until there are enough rows."""
    yield plan, limited
    limited = plan["Node Type"] == "Limit" or (limited and plan["Node Type"] not in READS_ALL)
    for child in plan.get("Plans", ()):
        yield from nodes_of(child, limited=limited)


def is_bounded(node: dict[str, Any], *, limited: bool) -> bool:
    """Whether it reads a part of its table: by a condition, until there are enough rows, or only open runs."""
    index, table = node.get("Index Name"), node.get("Relation Name")
    is_large = table in LARGE or (index is not None and any(index.startswith(f"pk_{large}") for large in LARGE))
    if not is_large or "Scan" not in node["Node Type"] or node["Node Type"] == "Bitmap Heap Scan":
        return True
    return index is not None and ("Index Cond" in node or index in OF_OPEN_RUNS or (limited and "Filter" not in node))


async def test_no_statement_that_runs_often_reads_a_whole_table(full: Stored) -> None:
    unbounded = {}
    for name, statement in (await statements_of(full)).items():
        nodes = nodes_of(await plan_of(full.database, statement))
        scans = [node for node, limited in nodes if not is_bounded(node, limited=limited)]
        unbounded[name] = [node.get("Index Name", node.get("Relation Name")) for node in scans]
    assert {name: scans for name, scans in unbounded.items() if scans and name not in LONG} == {}
    claim = await plan_of(full.database, await _query_of_claim(full.database))
    assert {node.get("Index Name") for node, _ in nodes_of(claim)} >= OF_OPEN_RUNS
