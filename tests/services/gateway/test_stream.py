"""A run's events as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent

from flowyard.runs.events import Failure
from services.gateway.conftest import Gateway, Starting, submit
from support.hands import Hands

pytestmark = pytest.mark.usefixtures("poem")


@asynccontextmanager
async def stream(
    client: httpx.AsyncClient, run_id: str, **headers: str
) -> AsyncIterator[AsyncGenerator[ServerSentEvent, None]]:
    request_headers = {"accept": "text/event-stream", **headers}
    async with client.stream("GET", f"/v1/runs/{run_id}/events", headers=request_headers) as response:
        assert response.status_code == 200
        # httpx-sse yields a block that only says how soon to connect again, browsers don't.
        yield (event async for event in EventSource(response).aiter_sse() if event.data)


async def all_of(client: httpx.AsyncClient, run_id: str, **headers: str) -> list[ServerSentEvent]:
    async with stream(client, run_id, **headers) as events:
        return [event async for event in events]


async def test_a_stream_carries_past_and_new_events_and_ends_with_the_run(
    client: httpx.AsyncClient, hands: Hands
) -> None:
    run_id = await submit(client)
    claim = await hands.take()
    async with stream(client, run_id) as events:
        first = await anext(events)
        assert (first.id, first.event) == ("1", "run.queued")
        await hands.append(claim, "step.started", node="draft", visit=1)
        assert (await anext(events)).event == "step.started"
        hands.say(claim, "draft", "a 😀 line\nand another")
        token = await anext(events)
        assert (token.event, json.loads(token.data)["text"]) == ("token", "a 😀 line\nand another")
        await hands.succeed(claim, {"poem": "p"})
        rest = [event async for event in events]
    assert [(event.id, event.event) for event in rest] == [("3", "run.succeeded")]
    assert json.loads(rest[0].data)["data"]["outputs"] == {"poem": "p"}


async def test_a_token_is_no_place_to_resume_at(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    claim = await hands.take()
    async with client.stream("GET", f"/v1/runs/{run_id}/events", headers={"accept": "text/event-stream"}) as response:
        lines = response.aiter_lines()
        while "run.queued" not in await anext(lines):
            pass
        hands.say(claim, "draft", "x")
        block = []
        async for line in lines:
            block.append(line)
            if line.startswith("data") and "text" in line:
                break
    assert not any(line.startswith("id:") for line in block[block.index("event: token") :])


async def test_a_stream_goes_on_where_the_client_lost_it(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    claim = await hands.take()
    await hands.step(claim, "draft", {"draft": "d"})
    await hands.succeed(claim, {})
    resumed = await all_of(client, run_id, **{"Last-Event-ID": "2"})
    assert [event.id for event in resumed] == ["3", "4"]


async def test_a_client_that_has_everything_is_asked_not_to_come_again(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    await hands.succeed(await hands.take(), {})
    request_headers = {"accept": "text/event-stream", "Last-Event-ID": "2"}
    assert (await client.get(f"/v1/runs/{run_id}/events", headers=request_headers)).status_code == 204


async def test_a_retried_run_is_followed_past_its_failure(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    await hands.fail(await hands.take(), Failure("timeout", "slow"))
    await client.post(f"/v1/runs/{run_id}/retry")
    claim = await hands.take()
    async with stream(client, run_id) as events:
        kinds = [(await anext(events)).event for _ in range(3)]
        assert kinds == ["run.queued", "run.failed", "run.queued"]
        await hands.succeed(claim, {})
        assert [event.event async for event in events] == ["run.succeeded"]


async def test_a_cancelled_run_ends_its_stream(client: httpx.AsyncClient) -> None:
    run_id = await submit(client)
    async with stream(client, run_id) as events:
        await anext(events)
        await client.post(f"/v1/runs/{run_id}/cancel")
        assert [event.event async for event in events] == ["run.cancelled"]


async def test_events_of_which_no_message_comes_are_found(starting: Starting, hands: Hands) -> None:
    async with starting(poll_s=0.1) as gateway:
        run_id = await submit(gateway.client)
        claim = await hands.take()
        async with stream(gateway.client, run_id) as events:
            await anext(events)
            hands.silent = True
            await hands.step(claim, "draft", {"draft": "d"})
            hands.silent = False
            # Now there is a gap in what NATS brings.
            await hands.succeed(claim, {})
            assert [event.id async for event in events] == ["2", "3", "4"]


async def test_many_streams_of_one_run_each_get_everything(client: httpx.AsyncClient, hands: Hands) -> None:
    run_id = await submit(client)
    claim = await hands.take()
    streams = [asyncio.create_task(all_of(client, run_id)) for _ in range(20)]
    for _ in range(10):
        await hands.append(claim, "route.taken", node="draft", to="write")
    await hands.succeed(claim, {})
    for events in await asyncio.gather(*streams):
        assert [event.id for event in events] == [str(seq) for seq in range(1, 13)]


async def test_a_shutdown_ends_open_streams_at_once(gateway: Gateway) -> None:
    run_id = await submit(gateway.client)
    async with stream(gateway.client, run_id) as events:
        await anext(events)
        gateway.ending.set()
        async with asyncio.timeout(1):
            assert [event async for event in events] == []
