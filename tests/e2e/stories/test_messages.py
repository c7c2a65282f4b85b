"""Programs send messages and requests of NATS, and the end of one run starts another."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import nats
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client

from support.system import System
from support.visitor import JsonObject, Visitor
from support.waiting import eventually

PARCELS: Final = """\
flow: {name: parcels}
state:
  fields:
    order: {type: int, required: true}
    text: str
nodes:
  - {id: known, assert: order > 0, message: 'there is no order {order}'}
  - {id: write, set: {text: 'Order {order} is on its way.'}}
triggers:
  shipped:
    nats: {subject: flowyard.triggers.stories.*}
    when: payload.parcels > 0
    inputs: {order: '{payload.order}'}
  question:
    nats: {request: flowyard.requests.stories, wait: 20s}
    inputs: {order: '{payload.order}'}
"""
APOLOGY: Final = """\
flow: {name: apology}
state:
  fields:
    order: {type: int, required: true}
    reason: {type: str, required: true}
    text: str
nodes:
  - {id: write, set: {text: 'Sorry for {order}: {reason}'}}
triggers:
  failed:
    workflow: {name: parcels, status: failed}
    inputs: {order: '{payload.inputs.order}', reason: '{payload.error.message}'}
"""
SUBJECT: Final = "flowyard.triggers.stories.shipped"
PACE_S: Final = 0.05
SOME: Final = 5


@pytest.fixture
async def bus(system: System, visitor: Visitor) -> AsyncIterator[Client]:
    """Of a program that may send, and nothing else."""
    await visitor.apply("parcels", PARCELS)
    await visitor.apply("apology", APOLOGY)
    url = await asyncio.to_thread(system.nats_url, "messages")
    client = await nats.connect(url, inbox_prefix="_INBOX_sender")
    yield client
    await client.close()


def body(**values: Any) -> bytes:
    return json.dumps(values).encode()


async def recorded(visitor: Visitor, trigger: str, *, workflow: str = "parcels", count: int) -> list[JsonObject]:
    """As soon as there are so many, the oldest first."""

    async def all_there() -> list[JsonObject]:
        page = await visitor.get("/v1/deliveries", workflow=workflow, trigger=trigger, limit=100)
        return page["items"][::-1] if len(page["items"]) >= count else []

    items: list[JsonObject] = await eventually(all_there)
    assert len(items) == count
    return items


async def test_each_message_starts_one_run_or_is_recorded_with_the_reason_why_not(
    visitor: Visitor, bus: Client
) -> None:
    stream = bus.jetstream()
    messages = {
        "first": body(order=1, parcels=1),
        "second": body(order=2, parcels=1),
        "empty": body(order=3, parcels=0),
        "incomplete": body(order=4),
        "no-number": body(order="five", parcels=1),
        "no-json": b"{",
    }
    for name, message in messages.items():
        await stream.publish(SUBJECT, message, headers={"Nats-Msg-Id": name})
    assert (await stream.publish(SUBJECT, messages["first"], headers={"Nats-Msg-Id": "first"})).duplicate
    items = await recorded(visitor, "shipped", count=len(messages))
    assert {item["sender_id"]: item["outcome"] for item in items} == {
        "first": "started",
        "second": "started",
        "empty": "unmatched",
        "incomplete": "failed",
        "no-number": "failed",
        "no-json": "failed",
    }
    reasons = {item["sender_id"]: item["reason"] for item in items if item["outcome"] == "failed"}
    assert "parcels" in reasons["incomplete"]
    assert "order" in reasons["no-number"]
    assert all(reasons.values())
    runs = await visitor.all_ended([item["run_id"] for item in items if item["outcome"] == "started"])
    assert {(run["status"], run["outputs"]["text"]) for run in runs} == {
        ("succeeded", "Order 1 is on its way."),
        ("succeeded", "Order 2 is on its way."),
    }


async def test_a_copy_without_an_id_is_known_by_its_content(visitor: Visitor, bus: Client) -> None:
    stream = bus.jetstream()
    for message in (body(order=21, parcels=1), body(order=22, parcels=1), body(order=21, parcels=1)):
        assert not (await stream.publish("flowyard.triggers.stories.copied", message)).duplicate

    async def received() -> list[JsonObject]:
        page = await visitor.get("/v1/deliveries", workflow="parcels", trigger="shipped", limit=3)
        return page["items"] if all(item["sender_id"] is None for item in page["items"]) else []

    items = await eventually(received)
    assert Counter(item["outcome"] for item in items) == {"started": 2, "repeated": 1}
    runs = {item["digest"]: await visitor.ended(item["run_id"]) for item in items}
    assert {run["inputs"]["order"] for run in runs.values()} == {21, 22}
    [copy] = [item for item in items if item["outcome"] == "repeated"]
    assert runs[copy["digest"]]["inputs"]["order"] == 21


async def test_a_program_that_may_send_can_read_nothing_and_who_may_read_can_send_nothing(
    visitor: Visitor, bus: Client, system: System
) -> None:
    refusals: list[str] = []
    message = body(order=31, parcels=1)

    async def remember(error: Exception) -> None:
        refusals.append(str(error))

    urls = [await asyncio.to_thread(system.nats_url, user) for user in ("messages", "events")]
    sender, reader = [await nats.connect(url, error_cb=remember) for url in urls]
    try:
        for subject in ("flowyard.events.>", "flowyard.triggers.>", "_INBOX_registry.>", ">"):
            await sender.subscribe(subject)
        for subject in (SUBJECT, "flowyard.requests.stories", "flowyard.events.parcels.run.succeeded"):
            await reader.publish(subject, message)
        await eventually(lambda: len(refusals) == 7)
        assert all("permissions violation" in refusal for refusal in refusals)
    finally:
        await sender.close()
        await reader.close()
    page = await visitor.get("/v1/deliveries", workflow="parcels", limit=100)
    assert hashlib.sha256(message).hexdigest() not in {item["digest"] for item in page["items"]}


async def test_messages_that_nats_has_stored_start_their_runs_once_although_it_is_killed(
    visitor: Visitor, bus: Client, system: System
) -> None:
    stream, sent, ending = bus.jetstream(), list[int](), asyncio.Event()

    async def stored(order: int) -> bool:
        """A message whose acknowledgement is lost is sent again, with the same id."""
        headers = {"Nats-Msg-Id": f"order-{order}"}
        try:
            await stream.publish(SUBJECT, body(order=order, parcels=1), timeout=1, headers=headers)
        except (nats.errors.Error, nats.js.errors.Error):
            return False
        return True

    async def send_all_the_time() -> None:
        for order in itertools.count(41):
            await eventually(partial(stored, order), 60)
            sent.append(order)
            if ending.is_set():
                return
            await asyncio.sleep(PACE_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send_all_the_time())
        await eventually(lambda: len(sent) >= SOME)
        starts = await asyncio.to_thread(system.send, "nats", signal.SIGKILL)
        await system.back("nats", after=starts)
        before = len(sent)
        await eventually(lambda: len(sent) >= before + SOME, 60)
        ending.set()

    async def all_started() -> list[JsonObject]:
        page = await visitor.get("/v1/deliveries", workflow="parcels", outcome="started", limit=200)
        wanted = [item for item in page["items"] if (item["sender_id"] or "").startswith("order-")]
        return wanted if len(wanted) >= len(sent) else []

    items = await eventually(all_started, 60)
    assert Counter(item["sender_id"] for item in items) == {f"order-{order}": 1 for order in sent}
    runs = await visitor.all_ended([item["run_id"] for item in items])
    assert sorted(run["inputs"]["order"] for run in runs) == sent


async def test_a_request_is_answered_with_the_result_of_its_run_and_a_copy_with_the_same(
    visitor: Visitor, bus: Client
) -> None:
    async def request(message_id: str, **values: Any) -> Any:
        headers = {"Nats-Msg-Id": message_id}
        message = await bus.request("flowyard.requests.stories", body(**values), timeout=20, headers=headers)
        return json.loads(message.data), message.headers or {}

    (first, _), (copy, _) = [await request("question 7", order=7) for _ in range(2)]
    assert (first["outcome"], first["status"], first["outputs"]) == (
        "started",
        "succeeded",
        {"text": "Order 7 is on its way."},
    )
    assert (copy["outcome"], copy["run_id"], copy["outputs"]) == ("repeated", first["run_id"], first["outputs"])
    refused, headers = await request("question 8", number=8)
    assert (refused["code"], headers["Nats-Service-Error"]) == ("not_mapped", "not_mapped")
    items = await recorded(visitor, "question", count=3)
    assert Counter(item["outcome"] for item in items) == {"started": 1, "repeated": 1, "failed": 1}


async def test_a_run_that_fails_starts_the_run_that_follows_its_failure_and_another_end_none(
    visitor: Visitor, bus: Client
) -> None:
    good, bad = [await visitor.ended(await visitor.submit("parcels", order=order)) for order in (9, -9)]
    assert (good["status"], bad["status"]) == ("succeeded", "failed")
    [end] = await recorded(visitor, "failed", workflow="apology", count=1)
    run = await visitor.ended(end["run_id"])
    assert (run["status"], run["inputs"]["order"]) == ("succeeded", -9)
    assert "there is no order -9" in run["outputs"]["text"]
