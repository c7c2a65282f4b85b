"""Postgres is restarted while webhooks come and events are published: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import nats
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from flowyard.webhooks.request import HookRequest
from support.foreign_signers import FOREIGN, Unsigned
from support.hook_senders import send
from support.hooks import JSON, SYMMETRIC
from support.system import System
from support.visitor import JsonObject, Visitor
from support.waiting import eventually

RECEIVED: Final = """\
flow: {name: received}
state:
  fields:
    number: {type: int, required: true}
    next: int
nodes:
  - {id: count, set: {next: {expr: number + 1}}}
triggers:
  sent:
    webhook: {path: stories/received, kind: standard, secret: '${env:STANDARD_WEBHOOK_SECRET}'}
    inputs: {number: '{payload.number}'}
"""
SENDERS: Final = 4
PACE_S: Final = 0.15
"""After each request of a sender: together they send less than executors finish, else the queue would be full."""
PUBLISHED: Final = ("run.queued", "run.claimed", "run.waiting", "run.succeeded", "run.failed", "run.cancelled")


def webhook(visitor: Visitor, number: int) -> HookRequest:
    url = f"{str(visitor.http.base_url).rstrip('/')}/hooks/stories/received"
    body = json.dumps({"number": number})
    headers = FOREIGN["standardwebhooks"][1](Unsigned(url, body, SYMMETRIC, delivery_id=f"sent-{number}"))
    return HookRequest("POST", url, (("Content-Type", JSON), *headers.items()), body.encode())


@asynccontextmanager
async def sent_all_the_time(visitor: Visitor) -> AsyncIterator[dict[int, httpx.Response]]:
    """The answers so far, by the number that was sent. It ends with the block."""
    answers: dict[int, httpx.Response] = {}
    ending = asyncio.Event()

    async def sender(first: int) -> None:
        number = first
        while not ending.is_set():
            answers[number] = await send(visitor.http, webhook(visitor, number))
            number += SENDERS
            await asyncio.sleep(PACE_S)

    async with asyncio.TaskGroup() as senders:
        for first in range(SENDERS):
            senders.create_task(sender(first))
        try:
            yield answers
        finally:
            ending.set()


async def restart_postgres(system: System) -> None:
    """As an operator does, who doesn't wait for open connections."""
    starts = await asyncio.to_thread(system.send, "postgres", signal.SIGINT)
    await system.back("postgres", after=starts)


async def all_pages(visitor: Visitor, path: str, **wanted: Any) -> list[JsonObject]:
    items, cursor = [], None
    while True:
        page = await visitor.get(path, limit=100, **wanted, **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        if (cursor := page["next_cursor"]) is None:
            return items


@pytest.mark.timeout(120)
async def test_each_webhook_is_stored_or_answered_503_while_postgres_restarts_and_none_is_lost_after_a_2xx(
    visitor: Visitor, system: System, measured: Callable[[str], None]
) -> None:
    await visitor.apply("received", RECEIVED)

    def accepted() -> int:
        return sum(answer.status_code == 202 for answer in answers.values())

    async with sent_all_the_time(visitor) as answers:
        await eventually(lambda: accepted() >= SENDERS)
        await restart_postgres(system)
        before = accepted()
        await eventually(lambda: accepted() >= before + 2 * SENDERS, 60)
    assert {answer.status_code for answer in answers.values()} <= {202, 503}
    refused = {number: answer for number, answer in answers.items() if answer.status_code == 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused.values())
    slowest_s = max(answer.elapsed.total_seconds() for answer in answers.values())
    measured(
        f"webhooks while Postgres restarts: {len(answers) - len(refused)} stored at once, {len(refused)} answered 503,"
        f" the slowest answer after {slowest_s:.1f} s"
    )
    # As their senders do.
    for number in refused:
        again = await send(visitor.http, webhook(visitor, number))
        assert again.status_code in (200, 202), again.text
        answers[number] = again
    deliveries = await all_pages(visitor, "/v1/deliveries", workflow="received", outcome="started")
    assert Counter(item["sender_id"] for item in deliveries) == {f"sent-{number}": 1 for number in answers}
    runs = await visitor.all_ended([answer.json()["run_id"] for answer in answers.values()])
    assert [(run["status"], run["inputs"]["number"]) for run in runs] == [("succeeded", n) for n in answers]
    listed = await all_pages(visitor, "/v1/runs", workflow="received")
    assert sorted(run["id"] for run in listed) == sorted(run["id"] for run in runs)


@asynccontextmanager
async def public_events(system: System, workflow: str) -> AsyncIterator[list[BaseCloudEvent]]:
    """Those of its runs, in the order in which a program of others gets them; it reads until the block ends."""
    bus = await nats.connect(await asyncio.to_thread(system.nats_url, "events"), inbox_prefix="_INBOX_reader")
    events: list[BaseCloudEvent] = []

    async def read() -> None:
        subscription = await bus.jetstream().pull_subscribe(f"flowyard.events.{workflow}.>", "stories", "EVENTS")
        while True:
            try:
                messages = await subscription.fetch(100, timeout=1)
            except TimeoutError:
                continue
            for message in messages:
                events.append(JSONFormat().read(CloudEvent, message.data))
                await message.ack()

    reading = asyncio.create_task(read())
    try:
        yield events
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        await bus.close()


def by_run(events: Sequence[BaseCloudEvent]) -> dict[str, list[tuple[int, str]]]:
    """The numbers and types, in their order; what came twice is counted once, where it came first."""
    first: dict[str, BaseCloudEvent] = {}
    for event in events:
        first.setdefault(event.get_id(), event)
    runs = defaultdict(list)
    for event in first.values():
        data = event.get_data()
        assert isinstance(data, dict)
        assert event.get_subject() == data["run_id"]
        runs[data["run_id"]].append((data["seq"], event.get_type().removeprefix("flowyard.")))
    return dict(runs)


@pytest.mark.timeout(120)
async def test_public_events_are_complete_and_in_order_although_postgres_restarts(
    visitor: Visitor, system: System
) -> None:
    await visitor.apply("published", RECEIVED.partition("triggers:")[0].replace("received", "published"))
    run_ids: list[str] = []

    async def submit() -> None:
        response = await visitor.post("/v1/workflows/published/runs", inputs={"number": len(run_ids)})
        if response.is_success:
            run_ids.append(response.json()["id"])
        assert response.is_success or response.status_code == 503, response.text

    async def submit_all_the_time() -> None:
        while True:
            await submit()
            await asyncio.sleep(PACE_S / SENDERS)

    async with public_events(system, "published") as events:
        submitting = asyncio.create_task(submit_all_the_time())
        await eventually(lambda: len(run_ids) >= 10)
        await restart_postgres(system)
        before = len(run_ids)
        await eventually(lambda: len(run_ids) >= before + 10, 60)
        submitting.cancel()
        await asyncio.wait([submitting])
        await visitor.all_ended(run_ids)
        runs = [run["id"] for run in await all_pages(visitor, "/v1/runs", workflow="published")]
        await visitor.all_ended(runs)
        assert set(run_ids) <= set(runs)
        expected = {
            run_id: [(e["seq"], e["type"]) for e in await visitor.events(run_id) if e["type"] in PUBLISHED]
            for run_id in runs
        }
        await eventually(lambda: by_run(events).keys() >= expected.keys() and len(by_run(events)) == len(expected))
        await eventually(lambda: by_run(events) == expected, 30)
