from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import asyncpg
import pytest

from flowyard.access import Actor
from flowyard.api.audit import AuditEntry, BrokenChain, checked
from flowyard.storage.agents import Agents, NewAgent
from flowyard.storage.audit import Audit, AuditFilter, AuditRow, write_act
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys, Sessions
from flowyard.storage.moves import Moves
from flowyard.storage.retention import Retention
from flowyard.storage.runs import Runs
from flowyard.storage.workflows import Workflows
from support.queued import apply, new_run

ANA = Actor("k7c2qmzd", 'ana\'s "laptop" \\ é 𝄞 \x7f\u2028\t', "192.0.2.7")
DOCUMENT = "flow: {name: test}\nstate: {fields: {a: str}}\nnodes: [{id: a, prompt: hi, outputs: [a]}]\n"


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database)


async def rows_of(audit: Audit, wanted: AuditFilter | None = None) -> list[AuditRow]:
    await audit.chain()
    return await audit.page(wanted or AuditFilter(), after=0, limit=1000)


def entries_of(rows: Sequence[AuditRow]) -> list[AuditEntry]:
    shown = [{**asdict(row), "previous": row.previous.hex(), "hash": row.hash.hex()} for row in rows]
    # As lines of an export.
    return [AuditEntry.model_validate_json(json.dumps(each)) for each in shown]


async def many_acts(database: Database, count: int) -> None:
    async with database.transaction() as connection:
        for number in range(count):
            await write_act(connection, "run.retried", ANA, workflow="w", objects=[str(number)], details={"é": number})


async def test_everything_that_is_done_is_written_down_with_who_did_it(database: Database, audit: Audit) -> None:
    keys, workflows, runs, moves = Keys(database), Workflows(database), Runs(database), Moves(database)
    info, text = await keys.create("ci", frozenset({"run"}), workflows=frozenset({"w"}), rate=5, by=ANA)
    await keys.rotate(info.id, overlap_s=0, by=ANA)
    caller = await keys.verify((await keys.rotate(info.id, overlap_s=0, by=ANA))[1])
    assert caller is not None
    await Sessions(database).open(caller, 60, by=ANA)
    for _ in range(2):
        await keys.revoke(info.id, by=ANA)  # the second time it changes nothing
    for digest in ("1" * 64, "2" * 64, "2" * 64):
        await workflows.apply("w", digest=digest, document=DOCUMENT, concurrency=None, priority=0, by=ANA)
    await workflows.roll_back("w", 1, concurrency=None, priority=0, by=ANA)
    run = new_run(await workflows.head("w"))
    await runs.add_current(run, by=ANA)
    fork = replace(new_run(await workflows.head("w")), workflow="w")
    await runs.add(fork, by=ANA)
    await moves.cancel(run.id, by=ANA)
    await database.execute("UPDATE runs SET status = 'failed', finished_at = now() WHERE id = $1", run.id)
    await moves.retry(run.id, by=ANA)
    await workflows.delete("w", force=True, by=ANA)
    await Agents(database).register(NewAgent("a", "a", "http", "1", "here"))
    await Agents(database).deregister("a", by=ANA)
    rows = await rows_of(audit)
    assert [row.act for row in rows] == [
        "key.created", "key.rotated", "key.rotated", "session.opened", "key.revoked", "workflow.applied",
        "workflow.applied", "workflow.restored", "run.submitted", "run.forked", "run.cancelled", "run.retried",
        "workflow.deleted", "run.cancelled", "run.cancelled", "agent.removed",
    ]  # fmt: skip
    assert {(row.key_id, row.who, row.address) for row in rows} == {(ANA.key_id, ANA.who, ANA.address)}
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    created, restored, submitted = rows[0], rows[7], rows[8]
    assert created.objects == [info.id]
    assert created.details == {"name": "ci", "scopes": ["run"], "workflows": ["w"], "rate": 5, "expires_at": None}
    assert restored.details == {"revision": 3, "digest": "1" * 64, "restores": 1}
    assert (submitted.workflow, submitted.objects) == ("w", [str(run.id)])
    assert text not in str(rows)
    assert len(list(checked(entries_of(rows)))) == len(rows)


async def test_what_the_system_does_and_what_fails_is_not_written_down(database: Database, audit: Audit) -> None:
    await apply(database, DOCUMENT)
    run = new_run(await Workflows(database).head("test"))
    await Runs(database).add_current(run)
    await Moves(database).cancel(run.id)
    await Keys(database).create("up", frozenset({"admin"}))
    await Runs(database).add_current(replace(run, revision=9), by=ANA)
    assert await rows_of(audit) == []


async def test_an_act_that_is_rolled_back_is_not_written_down(database: Database, audit: Audit) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            await write_act(connection, "run.retried", ANA)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await rows_of(audit) == []


async def test_runs_that_one_key_submits_at_once_are_one_row_and_those_of_others_are_others(
    database: Database, audit: Audit
) -> None:
    await apply(database, DOCUMENT)
    head, runs = await Workflows(database).head("test"), Runs(database)
    ben = Actor("bbbbbbbb", "ben", "192.0.2.8")
    submitted = [new_run(head) for _ in range(6)]
    by = [ANA, ben, ANA, ANA, None, ben]
    await asyncio.gather(*(runs.add_current(run, by=who) for run, who in zip(submitted, by, strict=True)))
    rows = await rows_of(audit)
    written = {row.key_id: set(row.objects) for row in rows}
    ids = [str(run.id) for run in submitted]
    assert written == {ANA.key_id: {ids[0], ids[2], ids[3]}, ben.key_id: {ids[1], ids[5]}}
    assert len(rows) == 2


async def test_the_same_idempotency_key_is_written_down_once(database: Database, audit: Audit) -> None:
    await apply(database, DOCUMENT)
    head, runs = await Workflows(database).head("test"), Runs(database)
    for _ in range(3):
        await runs.add_current(replace(new_run(head), key="k:1", fingerprint=b"1"), by=ANA)
    assert len(await rows_of(audit)) == 1


async def test_a_chain_that_is_built_by_many_at_once_has_every_act_once(database: Database, audit: Audit) -> None:
    await asyncio.gather(*(many_acts(database, 20) for _ in range(8)), *(audit.chain() for _ in range(8)))
    rows = await rows_of(audit)
    assert len(list(checked(entries_of(rows)))) == 160
    assert [row.number for row in rows] == list(range(1, 161))


async def test_nobody_waits_for_an_act_that_is_not_committed_yet(database: Database, audit: Audit) -> None:
    async with database.transaction() as connection:
        await write_act(connection, "run.retried", ANA, objects=["late"])
        await many_acts(database, 3)
        assert len(await rows_of(audit)) == 3
    rows = await rows_of(audit)
    assert rows[-1].objects == ["late"]
    assert len(list(checked(entries_of(rows)))) == 4


CHANGES: dict[str, dict[str, Any]] = {
    "act": {"act": "key.created"},
    "time": {"at": "2026-11-23T03:50:45.120000Z"},
    "key": {"key_id": None},
    "who": {"who": "nobody"},
    "address": {"address": "192.0.2.9"},
    "workflow": {"workflow": "x"},
    "objects": {"objects": []},
    "details": {"details": {"é": 7}},
}


@pytest.mark.parametrize("what", [*CHANGES, "removed", "swapped", "hash", "inserted", "first previous"])
async def test_a_change_of_any_row_is_found(database: Database, audit: Audit, what: str) -> None:
    await many_acts(database, 5)
    entries = entries_of(await rows_of(audit))
    changed = entries[2]
    match what:
        case "removed":
            del entries[2]
        case "swapped":
            entries[2:4] = [entries[3], entries[2]]
        case "hash":
            entries[2] = changed.model_copy(update={"hash": "0" * 64})
        case "inserted":
            entries.insert(3, changed)
        case "first previous":
            entries = [_fitting(entries[0].model_copy(update={"previous": "1" * 64}))]
        case _:
            # With a hash that fits: then the next row doesn't.
            entries[2] = changed.model_copy(update=CHANGES[what])
            with pytest.raises(BrokenChain, match="row 3 was changed"):
                list(checked(entries))
            entries[2] = _fitting(entries[2])
    with pytest.raises(BrokenChain):
        list(checked(entries))


def _fitting(entry: AuditEntry) -> AuditEntry:
    return entry.model_copy(update={"hash": entry.computed_hash()})


async def test_old_rows_are_deleted_from_the_beginning_and_the_rest_still_fits(
    database: Database, audit: Audit
) -> None:
    await many_acts(database, 10)
    await audit.chain()
    retention = Retention(database)
    await database.execute("UPDATE audit SET at = now() - interval '40 days' WHERE number <= 6")
    assert await retention.delete_acts(days=50) == 0
    assert await retention.delete_acts(days=35, most=2) == 6
    rows = await rows_of(audit)
    assert [row.number for row in rows] == [7, 8, 9, 10]
    assert len(list(checked(entries_of(rows)))) == 4
    await database.execute("UPDATE audit SET at = now() - interval '29 days'")
    assert await retention.delete_acts(days=1) == 0
    await database.execute("UPDATE audit SET at = now() - interval '31 days'")
    assert await retention.delete_acts(days=1) == 3
    await many_acts(database, 1)
    assert [row.number for row in await rows_of(audit)] == [10, 11]


async def test_filters_and_pages(database: Database, audit: Audit) -> None:
    await Keys(database).create("ci", frozenset({"run"}), by=replace(ANA, key_id="bbbbbbbb"))
    await many_acts(database, 4)
    for wanted, count in (
        (AuditFilter(act="run"), 4),
        (AuditFilter(act="run.retried"), 4),
        (AuditFilter(act="ru"), 0),
        (AuditFilter(key_id="bbbbbbbb"), 1),
        (AuditFilter(workflow="w"), 4),
        (AuditFilter(object_id="2"), 1),
    ):
        assert len(await rows_of(audit, wanted)) == count, wanted
    newest = await audit.page(AuditFilter(), limit=2)
    older = await audit.page(AuditFilter(), before=newest[-1].number, limit=9)
    assert [row.number for row in [*newest, *older]] == [5, 4, 3, 2, 1]


async def test_a_hundred_and_more_acts_of_many_batches_are_chained(database: Database, audit: Audit) -> None:
    await many_acts(database, 1100)
    assert await audit.chain() == 1100
    assert await audit.chain() == 0


async def test_a_row_that_was_chained_twice_is_refused(database: Database, audit: Audit) -> None:
    await many_acts(database, 1)
    await audit.chain()
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute("INSERT INTO audit SELECT * FROM audit")
