from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowyard.errors.requests import UnknownDelivery
from flowyard.ids import uuid7
from flowyard.runs.deliveries import DEDUPLICATED_S, NewDelivery
from flowyard.storage.database import Database
from flowyard.storage.deliveries import Deliveries, DeliveryFilter, First
from flowyard.storage.retention import Retention
from flowyard.storage.triggers import Triggers
from flowyard.storage.workflows import Revision
from support.queued import apply, new_id, new_run

DAY_S = 86_400
DOCUMENT = """
flow: {name: orders}
state: {fields: {topic: {type: str, default: rain}, poem: str}}
nodes:
  - {id: write, prompt: "On {topic}", outputs: [poem]}
triggers:
  hook: {webhook: {path: orders, secret: "${env:ORDERS_WEBHOOK_SECRET}"}, enabled: true}
"""


@pytest.fixture
async def revision(database: Database) -> Revision:
    return await apply(database, DOCUMENT)


def delivery(**about: Any) -> NewDelivery:
    usual: dict[str, Any] = {
        "id": new_id(), "workflow": "orders", "trigger": "hook", "outcome": "started", "status": 202, "body_size": 2,
        "digest": hashlib.sha256(b"{}").digest(), "payload": '{"a": 1}', "headers": '{"x-a": "b"}', "query": "{}",
    }  # fmt: skip
    return NewDelivery(**{**usual, **about})


async def start(database: Database, revision: Revision, key: str | None) -> First | None:
    run = new_run(revision)
    return await Deliveries(database).start(delivery(key=key, run_id=run.id), run)


async def runs_of(database: Database) -> int:
    return int(await database.value("SELECT count(*) FROM runs"))


async def test_a_delivery_is_stored_with_its_run(database: Database, revision: Revision) -> None:
    run = new_run(revision)
    new = delivery(key="k", run_id=run.id, sender_id="msg_1", address="192.0.2.1", method="POST")
    assert await Deliveries(database).start(new, run) == First(new.id, run.id)
    stored = await Deliveries(database).get(new.id)
    assert (stored.payload, stored.headers, stored.query, stored.has_payload) == ({"a": 1}, {"x-a": "b"}, {}, True)
    assert (stored.outcome, stored.status, stored.run_id, stored.sender_id) == ("started", 202, run.id, "msg_1")
    assert await runs_of(database) == 1


async def test_200_copies_at_once_make_one_run(database: Database, revision: Revision) -> None:
    gateways = [Deliveries(database) for _ in range(4)]

    async def send(i: int) -> First | None:
        run = new_run(revision)
        return await gateways[i % 4].start(delivery(key="same", run_id=run.id), run)

    results = await asyncio.gather(*(send(i) for i in range(200)))
    assert len(set(results)) == 1
    assert await runs_of(database) == 1
    rows = await database.rows("SELECT outcome, status, key, run_id, count(*) FROM deliveries GROUP BY 1, 2, 3, 4")
    assert sorted(tuple(row)[:3] for row in rows) == [("repeated", 200, None), ("started", 202, "same")]
    assert {row["run_id"] for row in rows} == {results[0] and results[0].run_id}
    assert sorted(row["count"] for row in rows) == [1, 199]


async def test_deliveries_without_a_key_and_with_other_keys_are_no_copies(
    database: Database, revision: Revision
) -> None:
    results = [await start(database, revision, key) for key in (None, None, "a", "b")]
    assert len(set(results)) == 4
    assert await runs_of(database) == 4


async def test_a_copy_that_comes_after_a_day_is_a_new_delivery(database: Database, revision: Revision) -> None:
    first = await start(database, revision, "k")
    age = "UPDATE deliveries SET received_at = now() - make_interval(secs => $1)"
    await database.execute(age, DEDUPLICATED_S - 60)
    assert await start(database, revision, "k") == first
    await database.execute(age, DEDUPLICATED_S + 1)
    again = await asyncio.gather(*(start(database, revision, "k") for _ in range(20)))
    assert len(set(again)) == 1
    assert again[0] != first
    assert await runs_of(database) == 2


async def test_a_copy_that_was_sent_within_the_day_is_one_although_it_comes_later(
    database: Database, revision: Revision
) -> None:
    first = await start(database, revision, "k")
    assert first is not None
    age = "UPDATE deliveries SET received_at = now() - make_interval(secs => $1) WHERE key IS NOT NULL"
    await database.execute(age, DEDUPLICATED_S + 60)
    run, now = new_run(revision), datetime.now(UTC)
    sent_at = now - timedelta(seconds=DEDUPLICATED_S + 120)
    assert await Deliveries(database).start(delivery(key="k", run_id=run.id), run, sent_at=sent_at) == first
    assert await runs_of(database) == 1
    run = new_run(revision)
    assert await Deliveries(database).start(delivery(key="k", run_id=run.id), run, sent_at=now) != first
    assert await runs_of(database) == 2


async def test_nothing_is_started_by_a_trigger_that_is_not_live_any_more(
    database: Database, revision: Revision
) -> None:
    await Triggers(database).set_paused("orders", "hook", paused=True)
    assert await start(database, revision, "k") is None
    await Triggers(database).set_paused("orders", "hook", paused=False)
    await apply(database, DOCUMENT.replace("rain", "snow"))
    assert await start(database, revision, "k") is None
    await apply(database, DOCUMENT.replace("true", "false"))
    disabled = await apply(database, DOCUMENT.replace("enabled: true", "enabled: false").replace("rain", "hail"))
    assert await start(database, disabled, "k") is None
    assert await runs_of(database) == 0
    assert await database.value("SELECT count(*) FROM deliveries") == 0


async def test_a_stale_delivery_does_not_stop_those_that_share_its_statement(
    database: Database, revision: Revision
) -> None:
    newer = await apply(database, DOCUMENT.replace("rain", "snow"))
    deliveries = Deliveries(database)

    async def send(at: Revision) -> First | None:
        run = new_run(at)
        return await deliveries.start(delivery(run_id=run.id), run)

    results = await asyncio.gather(send(revision), send(newer), send(revision), send(newer))
    assert [result is not None for result in results] == [False, True, False, True]


async def test_lists_are_filtered_and_newest_first(database: Database, revision: Revision) -> None:
    deliveries = Deliveries(database)
    added = [
        delivery(outcome="unverified", reason="wrong_signature", payload=None),
        delivery(outcome="failed", reason="payload has no 'x'"),
        delivery(outcome="failed", workflow="other"),
    ]
    # Ids of the same millisecond have no order.
    added = [replace(each, id=uuid7(i, bytes(10))) for i, each in enumerate(added)]
    for each in added:
        await deliveries.add(each)
    failed = await deliveries.page(DeliveryFilter(outcome="failed"), 10)
    assert [each.id for each in failed] == [added[2].id, added[1].id]
    own = await deliveries.page(DeliveryFilter(workflow="orders", trigger="hook"), 1)
    assert [each.id for each in own] == [added[1].id]
    older = await deliveries.page(DeliveryFilter(before=added[1].id), 10)
    assert [each.reason for each in older] == ["wrong_signature"]
    assert (await deliveries.get(added[0].id)).has_payload is False
    with pytest.raises(UnknownDelivery):
        await deliveries.get(new_id())


async def test_old_deliveries_go_once_their_run_is_gone(database: Database, revision: Revision) -> None:
    deliveries, retention = Deliveries(database), Retention(database)
    run = new_run(revision)
    kept, bare = delivery(run_id=run.id), delivery(outcome="unmatched")
    await deliveries.start(kept, run)
    await deliveries.add(bare)
    await deliveries.add(replace(bare, id=new_id()))
    assert await retention.delete_deliveries(older_than_s=30 * DAY_S) == 0
    await database.execute("UPDATE deliveries SET received_at = now() - interval '31 days'")
    assert await retention.delete_deliveries(older_than_s=30 * DAY_S, most=1) == 1
    assert await retention.delete_deliveries(older_than_s=30 * DAY_S) == 1
    await database.execute("DELETE FROM runs")
    assert await retention.delete_deliveries(older_than_s=30 * DAY_S) == 1
