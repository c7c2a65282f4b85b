"""Events of runs reach the public stream: each, in order per run, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from flowyard.api.public_events import PUBLIC_EVENTS
from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.event_stream import PublicEventStream
from flowyard.errors.services import Unavailable
from flowyard.export.cloud_events import message_of, messages_of
from flowyard.export.relay import EventRelay, RelayParts
from flowyard.runs.run import Entry
from flowyard.storage.database import Database
from flowyard.storage.public_events import Mark, PublicEvents, PublicRow
from flowyard.storage.retention import Retention
from flowyard.telemetry.metrics import Metrics
from integration.bus.server import NatsServer
from integration.export.conftest import Replying
from support import queued
from support.event_stream import Published, StreamReader, stream_reader
from support.executors import Yard
from support.waiting import eventually
from support.wire.behaviour import Status, Text

CHAIN: Final = """
flow: {name: NAME}
state:
  fields:
    topic: {type: str, required: true}
    plan: str
    poem: str
nodes:
  - {id: think, prompt: "think {topic}", outputs: [plan], retry: {max_retries: 1, initial_delay: 0.01}}
  - {id: write, prompt: "write {plan}", outputs: [poem], retry: {max_retries: 1, initial_delay: 0.01}}
config: {llm: MODEL}
"""
RUNS_ONLY: Final = [kind for kind in PUBLIC_EVENTS if kind.startswith("run.")]
INSIDE: Final = {"commit_s", "reserves"}
"""What only the API tells."""
AT_REST: Final = 10**9
"""A position that no test reaches."""


@pytest.fixture
def nats(tmp_path: Path) -> Any:
    server = NatsServer(tmp_path)
    server.start()
    server.wait()
    yield server
    server.kill()


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    async with open_bus(nats.url, name="registry") as bus:
        await eventually(lambda: bus.connected)
        yield bus


@pytest.fixture
async def reader(nats: NatsServer) -> AsyncIterator[StreamReader]:
    async with stream_reader(nats.url) as reader:
        yield reader


def stream_of(bus: Bus) -> PublicEventStream:
    return PublicEventStream(bus, max_age_s=3600, max_bytes=64 * 1024 * 1024)


def relay_of(
    database: Database, bus: Bus, *, holder: str = "one", kinds: Collection[str] = tuple(PUBLIC_EVENTS)
) -> RelayParts:
    events = PublicEvents(database, holder, lease_s=1.0)
    metrics = Metrics(service="registry", version="0").event_stream
    return RelayParts(events, stream_of(bus), metrics, kinds, every_s=0.02, hold_every_s=0.2)


@asynccontextmanager
async def relaying(parts: RelayParts) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(EventRelay(parts).run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def begun(database: Database) -> None:
    """Publishes what happens from now on."""
    events = PublicEvents(database, "nobody", lease_s=1.0)
    assert await events.hold() is not None
    await events.release()


async def published(reader: StreamReader, count: int, *, within_s: float = 20) -> list[Published]:
    """Returns when there are so many, and fails if there are more."""

    async def look() -> list[Published] | None:
        everything = await reader.all()
        return everything if len(everything) >= count else None

    messages: list[Published] = await eventually(look, within_s)
    assert len(messages) == count
    return messages


async def public_ids(yard: Yard, run_id: UUID, kinds: Collection[str] = tuple(PUBLIC_EVENTS)) -> list[str]:
    return [f"{run_id}:{entry.seq}" for entry in await yard.entries(run_id) if entry.type in kinds]


async def test_each_event_of_a_run_is_published_in_order_as_the_api_tells_it(
    yard: Yard, bus: Bus, reader: StreamReader
) -> None:
    await begun(yard.database)
    await yard.executor("one")
    run_id = await yard.submit(await yard.apply(CHAIN.replace("NAME", "poems")), topic="snow")
    await yard.ended(run_id)
    async with relaying(relay_of(yard.database, bus)):
        messages = await published(reader, len(await public_ids(yard, run_id)))
    entries = [entry for entry in await yard.entries(run_id) if entry.type in PUBLIC_EVENTS]
    assert [message.id for message in messages] == [f"{run_id}:{entry.seq}" for entry in entries]
    for message, entry in zip(messages, entries, strict=True):
        about = {"run_id": str(run_id), "workflow": "poems", "seq": entry.seq}
        told = {name: value for name, value in entry.data.items() if name not in INSIDE}
        assert message.data == json.loads(json.dumps(about | told))
        assert message.subject == f"flowyard.events.poems.{entry.type}"
        assert message.headers["Nats-Msg-Id"] == message.id
        assert message.headers["Content-Type"] == "application/cloudevents+json"
        assert message.event.get_time() == entry.at
        assert message.event.get_subject() == str(run_id)
        assert message.event.get_source() == "/v1/workflows/poems"
        assert message.kind == f"flowyard.{entry.type}"


async def test_each_message_fits_the_schema_of_its_type(
    yard: Yard, bus: Bus, reader: StreamReader, model: Replying
) -> None:
    await begun(yard.database)
    await yard.executor("one")
    name = await yard.apply(CHAIN.replace("NAME", "poems"))
    first = await yard.submit(name, topic="snow")
    await yard.ended(first)
    model.says = Status(500)
    failing = await yard.submit(name, topic="snow")
    await yard.ended(failing)
    await yard.moves.retry(failing)
    await yard.moves.cancel(failing)
    expected = [*await public_ids(yard, first), *await public_ids(yard, failing)]
    async with relaying(relay_of(yard.database, bus)):
        messages = await published(reader, len(expected))
    assert {message.kind.removeprefix("flowyard.") for message in messages} >= set(PUBLIC_EVENTS) - {
        "run.forked",
        "run.waiting",
    }
    for message in messages:
        schema = PUBLIC_EVENTS[message.kind.removeprefix("flowyard.")].model_json_schema() | {
            "unevaluatedProperties": False
        }
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(message.data)


async def test_an_event_whose_transaction_ends_late_is_not_skipped(
    database: Database, bus: Bus, reader: StreamReader
) -> None:
    await begun(database)
    await queued.apply(database, CHAIN.replace("NAME", "poems").replace("MODEL", "{provider: local, model: m}"))
    early = queued.new_id()
    async with relaying(relay_of(database, bus)):
        async with database.transaction() as connection:
            # As every submit: but its transaction takes its time.
            await connection.execute(
                "INSERT INTO runs (id, workflow, revision, definition, priority, max_attempts, inputs, status,"
                " last_seq) SELECT $1, 'poems', 1, definition, 0, 3, '{}', 'queued', 1 FROM revisions LIMIT 1",
                early,
            )
            late = await queued.submit(database, "poems", inputs={"topic": "snow"})
            await asyncio.sleep(0.3)
            assert await reader.all() == []
        messages = await published(reader, 2)
    assert [message.id for message in messages] == [f"{early}:1", f"{late}:1"]


async def test_a_run_that_no_executor_takes_is_published_as_queued(
    database: Database, bus: Bus, reader: StreamReader
) -> None:
    await begun(database)
    await queued.apply(database, CHAIN.replace("NAME", "a.b *").replace("MODEL", "{provider: local, model: m}"))
    parts = relay_of(database, bus)
    async with relaying(parts):
        run_id = await queued.submit(database, "a.b *", inputs={"topic": "snow"})
        [message] = await published(reader, 1)
    assert (message.id, message.subject) == (f"{run_id}:1", "flowyard.events.a%2Eb%20%2A.run.queued")
    assert message.event.get_source() == "/v1/workflows/a.b%20%2A"
    assert message.data == {"run_id": str(run_id), "workflow": "a.b *", "seq": 1}


async def test_what_was_published_before_a_kill_is_not_published_again_and_the_rest_is(
    yard: Yard, bus: Bus, reader: StreamReader
) -> None:
    await begun(yard.database)
    await yard.executor("one")
    name = await yard.apply(CHAIN.replace("NAME", "poems"))
    runs = [await yard.submit(name, topic="snow") for _ in range(5)]
    for run_id in runs:
        await yard.ended(run_id)
    # One that was killed between the stream and Postgres.
    events = PublicEvents(yard.database, "one", lease_s=60)
    after = await events.hold()
    assert after is not None
    rows = await events.read(after, Mark(AT_REST, 0), kinds=PUBLIC_EVENTS)
    killed = stream_of(bus)
    await killed.look()
    await killed.publish([m for row in rows[:7] for m in messages_of(row.run_id, row.workflow, row.entries)])
    expected = [id_ for run_id in runs for id_ in await public_ids(yard, run_id)]
    # A restarted process has the same name, so it doesn't wait for the lease.
    async with relaying(relay_of(yard.database, bus)):
        messages = await published(reader, len(expected))
    assert sorted(message.id for message in messages) == sorted(expected)
    for run_id in runs:
        assert [m.id for m in messages if m.data["run_id"] == str(run_id)] == await public_ids(yard, run_id)


async def test_it_goes_on_when_nats_comes_back_and_when_its_data_is_lost(
    database: Database, bus: Bus, nats: NatsServer
) -> None:
    await begun(database)
    await queued.apply(database, CHAIN.replace("NAME", "poems").replace("MODEL", "{provider: local, model: m}"))
    parts = relay_of(database, bus)
    async with relaying(parts):
        first = await queued.submit(database, "poems", inputs={"topic": "snow"})
        async with stream_reader(nats.url) as reader:
            await published(reader, 1)
        nats.kill()
        second = await queued.submit(database, "poems", inputs={"topic": "snow"})
        await eventually(lambda: parts.metrics.failures._value.get() > 0)
        nats.start()
        nats.wait()
        async with stream_reader(nats.url) as reader:
            assert [m.id for m in await published(reader, 2)] == [f"{first}:1", f"{second}:1"]
        nats.kill()
        nats.delete_store()
        third = await queued.submit(database, "poems", inputs={"topic": "snow"})
        nats.start()
        nats.wait()
        async with stream_reader(nats.url) as reader:
            assert [m.id for m in await published(reader, 1)] == [f"{third}:1"]


async def test_the_stream_is_there_before_the_first_event(database: Database, bus: Bus, reader: StreamReader) -> None:
    async def limits() -> Any:
        config = (await reader.request("INFO", {})).get("config", {})
        return config.get("max_age"), config.get("max_bytes"), config.get("subjects")

    async with relaying(relay_of(database, bus)):

        async def is_made() -> bool:
            return bool(await limits() == (3600 * 10**9, 64 * 1024 * 1024, ["flowyard.events.>"]))

        await eventually(is_made)


async def test_the_limits_of_a_stream_that_is_there_are_changed(bus: Bus, reader: StreamReader) -> None:
    await PublicEventStream(bus, max_age_s=60, max_bytes=1024 * 1024).look()
    await stream_of(bus).look()
    config = (await reader.request("INFO", {}))["config"]
    assert (config["max_age"], config["max_bytes"]) == (3600 * 10**9, 64 * 1024 * 1024)


async def test_what_the_stream_has_is_not_stored_again_when_nats_has_forgotten_the_ids(
    bus: Bus, reader: StreamReader
) -> None:
    row = row_of(1)
    messages = messages_of(row.run_id, row.workflow, row.entries)
    for part in (messages[:2], messages):
        stream = PublicEventStream(bus, max_age_s=3600, max_bytes=64 * 1024 * 1024, dedupe_s=0.1)
        await stream.look()
        await stream.publish(part)
        await asyncio.sleep(0.5)  # NATS itself has to forget
    assert [message.id for message in await reader.all()] == [message.id for message in messages]


async def test_a_process_that_was_frozen_while_another_published_stores_nothing(bus: Bus, reader: StreamReader) -> None:
    frozen, other = stream_of(bus), stream_of(bus)
    await frozen.look()
    await other.look()
    old, new = ([message_of(row.run_id, row.workflow, e) for row in [row_of(n)] for e in row.entries] for n in (1, 2))
    await other.publish(new)
    with pytest.raises(Unavailable):
        await frozen.publish(old)
    assert not frozen.is_known
    assert [message.id for message in await reader.all()] == [message.id for message in new]


def row_of(number: int) -> PublicRow:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    entries = [Entry(seq, at, "run.claimed", {"attempt": 1, "executor": "one"}) for seq in (1, 2, 3)]
    return PublicRow(number, UUID(int=number), "poems", entries)


async def test_one_of_two_processes_publishes_and_the_other_follows_at_once(
    database: Database, bus: Bus, reader: StreamReader
) -> None:
    await queued.apply(database, CHAIN.replace("NAME", "poems").replace("MODEL", "{provider: local, model: m}"))
    one, two = (relay_of(database, bus, holder=name) for name in ("one", "two"))
    async with relaying(two):
        async with relaying(one):
            await eventually(lambda: database.value("SELECT true FROM event_relays WHERE holder IS NOT NULL"))
            first = await queued.submit(database, "poems", inputs={"topic": "snow"})
            await published(reader, 1)
        second = await queued.submit(database, "poems", inputs={"topic": "snow"})
        messages = await published(reader, 2)
    assert [message.id for message in messages] == [f"{first}:1", f"{second}:1"]
    counts = [parts.metrics.published._value.get() for parts in (one, two)]
    assert sum(counts) == 2


async def test_large_values_are_not_published_but_their_sizes(
    yard: Yard, bus: Bus, reader: StreamReader, model: Replying
) -> None:
    await begun(yard.database)
    await yard.executor("one")
    name = await yard.apply(CHAIN.replace("NAME", "poems"))
    model.says = Text("x" * 70_000)
    large = await yard.submit(name, topic="snow")
    await yard.ended(large)
    expected = await public_ids(yard, large)
    async with relaying(relay_of(yard.database, bus)):
        messages = await published(reader, len(expected))
    [end] = [message for message in messages if message.kind == "flowyard.run.succeeded"]
    assert end.data["outputs"] == {}
    assert end.data["large_outputs"].keys() == {"plan", "poem"}
    assert all(len(json.dumps(message.data)) < 2_000 for message in messages)


async def test_of_a_run_alone_nothing_of_its_steps_is_published(yard: Yard, bus: Bus, reader: StreamReader) -> None:
    await begun(yard.database)
    await yard.executor("one")
    run_id = await yard.submit(await yard.apply(CHAIN.replace("NAME", "poems")), topic="snow")
    await yard.ended(run_id)
    async with relaying(relay_of(yard.database, bus, kinds=RUNS_ONLY)):
        messages = await published(reader, 3)
    assert [message.id for message in messages] == await public_ids(yard, run_id, RUNS_ONLY)
    assert messages[-1].data["outputs"] == {"plan": "done", "poem": "done"}


async def test_a_run_that_was_deleted_before_is_passed_over(database: Database, bus: Bus, reader: StreamReader) -> None:
    await begun(database)
    await queued.apply(database, CHAIN.replace("NAME", "poems").replace("MODEL", "{provider: local, model: m}"))
    gone = await queued.submit(database, "poems", inputs={"topic": "snow"})
    await database.execute("UPDATE runs SET status = 'cancelled', finished_at = now() WHERE id = $1", gone)
    await Retention(database).delete_runs(older_than_s=-1)
    kept = await queued.submit(database, "poems", inputs={"topic": "snow"})
    async with relaying(relay_of(database, bus)):
        assert [message.id for message in await published(reader, 1)] == [f"{kept}:1"]
        await eventually(lambda: database.value("SELECT position >= 2 FROM event_relays"))


async def test_what_happens_while_it_is_off_is_never_published(
    database: Database, bus: Bus, reader: StreamReader
) -> None:
    await begun(database)
    await queued.apply(database, CHAIN.replace("NAME", "poems").replace("MODEL", "{provider: local, model: m}"))
    await PublicEvents(database, "one", lease_s=1).forget()
    await queued.submit(database, "poems", inputs={"topic": "snow"})
    async with relaying(relay_of(database, bus)):
        await eventually(lambda: database.value("SELECT true FROM event_relays"))
        later = await queued.submit(database, "poems", inputs={"topic": "snow"})
        assert [message.id for message in await published(reader, 1)] == [f"{later}:1"]


async def test_a_page_of_large_outputs_is_read_in_parts(yard: Yard, model: Replying) -> None:
    await begun(yard.database)
    await yard.executor("one")
    name = await yard.apply(CHAIN.replace("NAME", "poems"))
    model.says = Text("x" * 60_000)
    runs = [await yard.submit(name, topic="snow") for _ in range(40)]
    for run_id in runs:
        await yard.ended(run_id)
    events = PublicEvents(yard.database, "one", lease_s=60)
    position, pages = 0, []
    while rows := await events.read(position, Mark(AT_REST, 0), kinds=PUBLIC_EVENTS):
        pages.append(rows)
        position = rows[-1].position
    assert len(pages) > 2
    found = [f"{row.run_id}:{entry.seq}" for rows in pages for row in rows for entry in row.entries]
    assert sorted(found) == sorted([id_ for run_id in runs for id_ in await public_ids(yard, run_id)])
