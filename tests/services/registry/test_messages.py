from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any
from uuid import uuid4

import nats
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.errors import NoStreamResponseError, NotFoundError

from flowyard.runs.deliveries import Delivery
from flowyard.storage.database import Database
from flowyard.storage.deliveries import Deliveries, DeliveryFilter
from flowyard.storage.triggers import Triggers
from services.registry.conftest import Registry, Starting
from support.queued import apply as store
from support.waiting import eventually

DOCUMENT = """
flow: {name: orders}
state: {fields: {topic: {type: str, required: true}, source: {type: str, default: none}, poem: str}}
nodes:
  - {id: write, prompt: "On {topic} {source}", outputs: [poem]}
triggers:
  placed:
    nats: {subject: SUBJECT.*}
    when: payload.total > 10
    inputs: {topic: "{payload.topic}", source: "{headers['nats-subject']}"}
"""
ANSWERING = """
flow: {name: answering}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: "On {topic}", outputs: [poem]}
triggers:
  asked:
    nats: {request: SUBJECT, wait: 5s}
    inputs: {topic: "{payload.topic}"}
"""


@pytest.fixture
def subject() -> str:
    """No other test's, since NATS is shared."""
    return f"flowyard.triggers.t{uuid4().hex}"


@pytest.fixture
async def client(nats_url: str) -> AsyncIterator[Client]:
    client = await nats.connect(nats_url)
    yield client
    await client.close()


async def apply(registry: Registry, text: str) -> None:
    name = text.partition("flow: {name: ")[2].partition("}")[0]
    response = await registry.client.put(f"/v1/workflows/{name}", content=text.encode())
    assert response.status_code in (200, 201), response.text


async def deliveries(database: Database, **wanted: Any) -> list[Delivery]:
    return await Deliveries(database).page(DeliveryFilter(**wanted), 500)


async def outcomes(database: Database, count: int) -> list[str]:
    """Oldest first, as soon as there are so many."""

    async def there() -> bool:
        return len(await deliveries(database)) >= count

    await eventually(there)
    return [each.outcome for each in reversed(await deliveries(database))]


async def runs_of(database: Database) -> list[dict[str, Any]]:
    return [row["inputs"] for row in await database.rows("SELECT inputs FROM runs ORDER BY id")]


def body(**values: Any) -> bytes:
    return json.dumps({"total": 20, **values}).encode()


async def test_a_message_starts_a_run_from_the_moment_at_which_apply_returns(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    stream = client.jetstream()

    async def is_made() -> bool:
        with suppress(NotFoundError):
            await stream.stream_info("TRIGGERS")
            return True
        return False

    await eventually(is_made)
    await stream.publish(f"{subject}.before", body(topic="fog"))
    await apply(registry, DOCUMENT.replace("SUBJECT", subject))
    await stream.publish(f"{subject}.first", body(topic="snow"), headers={"Nats-Msg-Id": "m1", "X-Kind": "order"})
    assert await outcomes(database, 1) == ["started"]
    assert await runs_of(database) == [{"topic": "snow", "source": f"{subject}.first"}]
    [delivery] = await deliveries(database)
    assert (delivery.workflow, delivery.trigger, delivery.sender_id) == ("orders", "placed", "m1")
    whole = await Deliveries(database).get(delivery.id)
    assert whole.payload == {"total": 20, "topic": "snow"}
    assert whole.headers is not None
    assert whole.headers.items() >= {"x-kind": "order", "nats-subject": f"{subject}.first"}.items()


async def test_200_copies_at_once_make_one_run_whoever_receives_them(
    database: Database, starting: Starting, client: Client, subject: str
) -> None:
    async with AsyncExitStack() as opened:
        registries = [await opened.enter_async_context(starting()) for _ in range(3)]
        await apply(registries[0], DOCUMENT.replace("SUBJECT", subject))
        # Core NATS, and ids that JetStream itself doesn't compare.
        for number in range(100):
            await client.publish(f"{subject}.a", body(topic="snow"))
            await client.publish(f"{subject}.b{number}", body(topic="rain"), headers={"Nats-Msg-Id": "same"})
        await client.flush()
        # JetStream drops 99 of those with one id by itself.
        found = await outcomes(database, 101)
    assert sorted(set(found)) == ["repeated", "started"]
    assert found.count("started") == 2
    assert sorted(run["topic"] for run in await runs_of(database)) == ["rain", "snow"]
    runs = {each.run_id for each in await deliveries(database)}
    assert len(runs) == 2


async def test_a_copy_is_known_although_the_stream_and_its_own_ids_were_lost(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    await apply(registry, DOCUMENT.replace("SUBJECT", subject))
    stream = client.jetstream()
    await stream.publish(f"{subject}.a", body(topic="snow"), headers={"Nats-Msg-Id": subject})
    assert await outcomes(database, 1) == ["started"]
    await stream.delete_stream("TRIGGERS")

    async def is_stored_again() -> bool:
        with suppress(NoStreamResponseError, NoRespondersError):
            await stream.publish(f"{subject}.a", body(topic="hail"), headers={"Nats-Msg-Id": subject})
            return True
        return False

    await eventually(is_stored_again)
    assert await outcomes(database, 2) == ["started", "repeated"]
    assert len(await runs_of(database)) == 1


async def test_messages_without_an_id_are_no_copies_if_the_document_says_so(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    text = DOCUMENT.replace("SUBJECT.*}", f"{subject}.*, deduplicate: id}}")
    await apply(registry, text)
    for headers in (None, None, {"Nats-Msg-Id": ""}, {"Nats-Msg-Id": ""}):
        await client.publish(f"{subject}.a", body(topic="snow"), headers=headers)
    assert await outcomes(database, 4) == ["started"] * 4


async def test_messages_with_an_empty_id_are_copies_if_their_content_is_the_same(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    await apply(registry, DOCUMENT.replace("SUBJECT", subject))
    for topic in ("snow", "rain", "snow"):
        await client.publish(f"{subject}.a", body(topic=topic), headers={"Nats-Msg-Id": ""})
    assert sorted(await outcomes(database, 3)) == ["repeated", "started", "started"]


@pytest.mark.parametrize(
    ("sent", "outcome", "reason"),
    [
        (b'{"topic": "snow", "total": 20', "failed", "the message isn't JSON: line 1 column 30"),
        (b"snow", "failed", "the message isn't JSON"),
        (b"\xff\xfe\x00", "failed", "the message isn't JSON"),
        (b"", "failed", "payload is null: it has no 'total'"),
        (b"[" * 100_000, "failed", "the message isn't JSON: it nests too deeply"),
        (b'{"total": NaN}', "failed", "the message isn't JSON: NaN is no number of JSON"),
        (b'{"total": 1e999}', "failed", "the message isn't JSON: the number 1e999 is too large"),
        (b'{"total": 20}', "failed", "payload has no 'topic'"),
        (b'{"total": 20, "topic": [1]}', "failed", "topic"),
        (b'{"total": "many", "topic": "snow"}', "failed", "payload.total is str"),
        (b'{"total": 5, "topic": "snow"}', "unmatched", None),
    ],
)
async def test_what_can_not_be_mapped_is_a_dead_letter_with_its_reason_and_never_comes_again(
    database: Database, registry: Registry, client: Client, subject: str, sent: bytes, outcome: str, reason: str | None
) -> None:
    await apply(registry, DOCUMENT.replace("SUBJECT", subject))
    await client.publish(f"{subject}.a", sent)
    await client.publish(f"{subject}.b", body(topic="rain"))
    assert sorted(await outcomes(database, 2)) == sorted([outcome, "started"])
    [dead] = await deliveries(database, outcome=outcome)
    assert (reason is None) == (dead.reason is None)
    if reason is not None:
        assert reason in (dead.reason or "")
        metrics = (await registry.client.get("/metrics")).text
        assert 'flowyard_trigger_dead_letters_total{workflow="orders"} 1.0' in metrics
    assert (await Deliveries(database).get(dead.id)).has_payload


async def test_a_message_of_too_many_lists_is_a_dead_letter(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    await apply(registry, DOCUMENT.replace("SUBJECT", subject))
    await client.publish(f"{subject}.a", b"[" + b"[]," * 130_000 + b"1]")
    assert await outcomes(database, 1) == ["failed"]
    [dead] = await deliveries(database, outcome="failed")
    assert dead.reason == "the message can't be read: it has 130,001 lists and objects; at most 125,000 are allowed"
    stream = client.jetstream()

    async def nothing_waits() -> bool:
        infos = [
            info for info in await stream.consumers_info("TRIGGERS") if info.config.filter_subject == f"{subject}.*"
        ]
        return all(not info.num_pending and not info.num_ack_pending for info in infos)

    await eventually(nothing_waits)


async def test_a_message_without_content_has_no_payload_and_can_start_a_run(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    text = DOCUMENT.replace("SUBJECT", subject).replace("payload.total > 10", "payload == None")
    await apply(registry, text.replace("{payload.topic}", "ticks"))
    await client.publish(f"{subject}.a", b"")
    assert await outcomes(database, 1) == ["started"]
    [delivery] = await deliveries(database)
    assert (await Deliveries(database).get(delivery.id)).payload is None


async def test_a_trigger_is_gone_with_the_revision_that_drops_it_and_gets_nothing_from_before_when_it_is_back(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    text = DOCUMENT.replace("SUBJECT", subject)
    await apply(registry, text)
    await apply(registry, text[: text.index("triggers:")])
    await client.publish(f"{subject}.a", body(topic="snow"))
    await client.flush()
    await apply(registry, text)
    await client.publish(f"{subject}.a", body(topic="rain"))
    assert await outcomes(database, 1) == ["started"]
    assert [run["topic"] for run in await runs_of(database)] == ["rain"]
    names = [info.name for info in await client.jetstream().consumers_info("TRIGGERS")]
    assert len(names) == len(set(names)) == await database.value("SELECT count(*) FROM triggers")


async def test_a_message_waits_while_its_trigger_is_paused_and_starts_its_run_afterwards(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    await apply(registry, DOCUMENT.replace("SUBJECT", subject))
    await Triggers(database).set_paused("orders", "placed", paused=True)
    await client.publish(f"{subject}.a", body(topic="snow"))
    await asyncio.sleep(2.5)
    assert await deliveries(database) == []
    await Triggers(database).set_paused("orders", "placed", paused=False)
    assert await outcomes(database, 1) == ["started"]


async def test_messages_wait_while_too_many_runs_are_queued_and_none_is_a_dead_letter(
    database: Database, starting: Starting, client: Client, subject: str
) -> None:
    async with starting(queue_limit=1) as registry:
        await apply(registry, DOCUMENT.replace("SUBJECT", subject))
        for topic in ("snow", "rain"):
            await client.publish(f"{subject}.{topic}", body(topic=topic))
        assert await outcomes(database, 1) == ["started"]
        await asyncio.sleep(2.5)
        assert len(await deliveries(database)) == 1
        await database.execute("UPDATE runs SET status = 'cancelled', finished_at = now()")
        assert await outcomes(database, 2) == ["started"] * 2


async def test_a_message_that_is_tried_too_often_is_a_dead_letter(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    text = DOCUMENT.replace("SUBJECT.*}", f"{subject}.*, tries: 2}}")
    await apply(registry, text)
    # Nobody could store this run: it stands for whatever fails again and again.
    refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'broken'; END$$"
    await database.rows(refuse)
    await database.rows("CREATE TRIGGER refuse BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION refuse()")
    try:
        await client.publish(f"{subject}.a", body(topic="snow"))
        assert await outcomes(database, 1) == ["failed"]
    finally:
        await database.rows("DROP FUNCTION refuse() CASCADE")
    [dead] = await deliveries(database)
    assert dead.reason is not None
    assert dead.reason.startswith("given up after 2 tries")
    await client.publish(f"{subject}.a", body(topic="rain"))
    assert await outcomes(database, 2) == ["failed", "started"]


async def test_a_request_is_answered_with_the_result_of_its_run(
    database: Database, registry: Registry, client: Client
) -> None:
    subject = f"flowyard.requests.t{uuid4().hex}"
    await apply(registry, ANSWERING.replace("SUBJECT", subject))
    asking = asyncio.create_task(client.request(subject, b'{"topic": "snow"}', timeout=8))

    async def started() -> Any:
        return await database.value("SELECT id FROM runs")

    run_id = await eventually(started, explain=lambda: f"{asking}")
    await database.execute(
        "UPDATE runs SET status = 'succeeded', finished_at = now(), outputs = '{\"poem\": \"drops\"}' WHERE id = $1",
        run_id,
    )
    answer = json.loads((await asking).data)
    assert answer.items() >= {"run_id": str(run_id), "status": "succeeded", "outputs": {"poem": "drops"}}.items()
    assert [each.outcome for each in await deliveries(database)] == ["started"]


@pytest.mark.parametrize(
    ("sent", "status", "code"), [(b"{", "422", "not_mapped"), (b'{"topic": 1}', "422", "not_mapped")]
)
async def test_a_request_that_starts_nothing_is_answered_why(
    database: Database, registry: Registry, client: Client, sent: bytes, status: str, code: str
) -> None:
    subject = f"flowyard.requests.t{uuid4().hex}"
    await apply(registry, ANSWERING.replace("SUBJECT", subject))
    answer = await client.request(subject, sent, timeout=8)
    assert answer.headers == {"Nats-Service-Error-Code": status, "Nats-Service-Error": code}
    assert json.loads(answer.data)["code"] == code
    assert [each.outcome for each in await deliveries(database)] == ["failed"]


@pytest.mark.parametrize("message_id", ["q", "the first question", "q" * 300])
async def test_a_request_whose_run_lasts_longer_is_answered_with_the_run_as_it_is_and_a_copy_with_the_same(
    database: Database, registry: Registry, client: Client, message_id: str
) -> None:
    subject = f"flowyard.requests.t{uuid4().hex}"
    await apply(registry, ANSWERING.replace("SUBJECT", subject).replace("5s", "200ms"))
    headers = {"Nats-Msg-Id": message_id}
    first, again = [
        json.loads((await client.request(subject, b'{"topic": "a"}', timeout=8, headers=headers)).data)
        for _ in range(2)
    ]
    assert (first["outcome"], first["status"], again["outcome"]) == ("started", "queued", "repeated")
    assert first["run_id"] == again["run_id"]


async def test_a_request_to_a_paused_trigger_is_refused_and_recorded(
    database: Database, registry: Registry, client: Client
) -> None:
    subject = f"flowyard.requests.t{uuid4().hex}"
    await apply(registry, ANSWERING.replace("SUBJECT", subject))
    await Triggers(database).set_paused("answering", "asked", paused=True)
    answer = await client.request(subject, b'{"topic": "a"}', timeout=8)
    assert answer.headers is not None
    assert answer.headers["Nats-Service-Error"] == "trigger_paused"
    assert [each.outcome for each in await deliveries(database)] == ["paused"]


async def test_messages_of_a_time_without_registries_start_their_runs_when_one_is_back(
    database: Database, starting: Starting, client: Client, subject: str
) -> None:
    async with starting() as registry:
        await apply(registry, DOCUMENT.replace("SUBJECT", subject))
    for number in range(50):
        await client.jetstream().publish(f"{subject}.a", body(topic=f"n{number}"))
    async with starting():
        assert await outcomes(database, 50) == ["started"] * 50
    assert len(await runs_of(database)) == 50


async def test_a_trigger_whose_consumer_was_deleted_gets_one_again(
    database: Database, starting: Starting, client: Client, subject: str
) -> None:
    stream = client.jetstream()
    async with starting() as registry:
        await apply(registry, DOCUMENT.replace("SUBJECT", subject))
        await client.publish(f"{subject}.a", body(topic="snow"))
        assert await outcomes(database, 1) == ["started"]
        for info in await stream.consumers_info("TRIGGERS"):
            await stream.delete_consumer("TRIGGERS", info.name)
        await client.publish(f"{subject}.a", body(topic="rain"))
        assert sorted(await outcomes(database, 3)) == ["repeated", "started", "started"]


async def test_a_document_that_an_older_revision_stored_without_the_registry_is_received_too(
    database: Database, registry: Registry, client: Client, subject: str
) -> None:
    await store(database, DOCUMENT.replace("SUBJECT", subject))
    await client.publish(f"{subject}.a", body(topic="snow"))
    await client.flush()
    assert await outcomes(database, 1) == ["started"]


async def test_messages_that_arrive_while_a_trigger_is_dropped_do_not_stop_the_registry(
    registry: Registry, client: Client, subject: str
) -> None:
    text = DOCUMENT.replace("SUBJECT", subject)
    for _ in range(20):
        await apply(registry, text)
        await client.publish(f"{subject}.a", body(topic="snow"))
        await apply(registry, text[: text.index("triggers:")])
