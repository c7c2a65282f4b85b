"""A client follows a run."""

from __future__ import annotations

import asyncio

import httpx

from support.visitor import JsonObject, Model, Visitor, data_of
from support.wire.behaviour import Held, Text

TALE = """\
flow: {name: tale}
state:
  fields:
    topic: {type: str, required: true}
    start: str
    end: str
nodes:
  - {id: begin, prompt: 'Begin {topic}.', outputs: [start]}
  - {id: finish, prompt: 'Finish {start}.', outputs: [end]}
config:
  llm: MODEL
"""
WHOLE = [
    "run.queued",
    "run.claimed",
    "step.started",
    "model.called",
    "step.finished",
    "step.started",
    "model.called",
    "step.finished",
    "run.succeeded",
]


async def test_a_stream_carries_every_event_once_and_in_order(visitor: Visitor) -> None:
    await visitor.apply("tale", TALE)
    run_id = await visitor.submit("tale", topic="cats")
    async with visitor.stream(run_id) as events:
        received = [event async for event in events if event.event != "token"]
    assert [event.id for event in received] == [str(number) for number in range(1, len(received) + 1)]
    assert [event.event for event in received] == WHOLE
    assert [data_of(event) for event in received] == await visitor.events(run_id)


async def test_tokens_come_while_the_model_is_still_speaking(visitor: Visitor, model: Model) -> None:
    await visitor.apply("tale", TALE)
    received, free = asyncio.Event(), asyncio.Event()
    model.replies = {
        "Begin dogs.": Held(Text("woof"), received),
        "Finish woof.": Held(Text("happily ever after"), free, after=2),
    }
    run_id = await visitor.submit("tale", topic="dogs")
    async with visitor.stream(run_id) as events:
        await anext(events)
        received.set()
        text = ""
        while text != "happily ever":
            event = await anext(events)
            spoken = data_of(event) if event.event == "token" else {"node": ""}
            text += spoken["text"] if spoken["node"] == "finish" else ""
        free.set()
        rest = [event async for event in events]
    assert "".join(data_of(event)["text"] for event in rest if event.event == "token") == " after"
    assert rest[-1].event == "run.succeeded"


async def test_a_client_that_lost_its_stream_misses_nothing_and_gets_nothing_twice(
    visitor: Visitor, model: Model
) -> None:
    await visitor.apply("tale", TALE)
    free = asyncio.Event()
    model.replies = {"Finish done.": Held(Text("the end"), free)}
    run_id = await visitor.submit("tale", topic="birds")
    seen: list[str] = []
    while not seen or seen[-1] != "run.succeeded":
        # One event per connection.
        async with visitor.stream(run_id, after=str(len(seen)) if seen else None) as events:
            event = await anext(event async for event in events if event.event != "token")
        seen.append(event.event)
        assert event.id == str(len(seen))
        if event.event == "step.finished":
            free.set()
    assert seen == WHOLE


async def test_a_stream_of_which_all_was_received_is_over(visitor: Visitor) -> None:
    await visitor.apply("tale", TALE)
    run = await visitor.ended(await visitor.submit("tale", topic="fish"))
    headers = {"accept": "text/event-stream", "last-event-id": str(run["last_seq"])}
    response = await visitor.http.get(f"/v1/runs/{run['id']}/events", headers=headers)
    assert (response.status_code, response.content) == (204, b"")


async def test_events_are_read_page_by_page(visitor: Visitor) -> None:
    await visitor.apply("tale", TALE)
    run = await visitor.ended(await visitor.submit("tale", topic="bees"))
    seen: list[JsonObject] = []
    after = 0
    while after < run["last_seq"]:
        page = await visitor.get(f"/v1/runs/{run['id']}/events", after=after, limit=2)
        assert len(page["items"]) <= 2
        seen, after = seen + page["items"], page["next_after"]
    assert [event["type"] for event in seen] == WHOLE


async def test_many_streams_of_one_run_carry_the_same(visitor: Visitor, model: Model) -> None:
    await visitor.apply("tale", TALE)
    free = asyncio.Event()
    model.replies = {"Begin owls.": Held(Text("hoo"), free)}
    run_id = await visitor.submit("tale", topic="owls")

    async def receive() -> list[str]:
        async with visitor.stream(run_id) as events:
            return [event.event async for event in events if event.event != "token"]

    async with asyncio.TaskGroup() as tasks:
        listeners = [tasks.create_task(receive()) for _ in range(20)]
        await model.received("Begin owls.")
        free.set()
    assert [listener.result() for listener in listeners] == [WHOLE] * 20


async def test_a_stream_of_an_unknown_run_is_a_problem_and_no_stream(visitor: Visitor) -> None:
    path = "/v1/runs/00000000-0000-7000-8000-000000000000/events"
    response: httpx.Response = await visitor.http.get(path, headers={"accept": "text/event-stream"})
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert response.json()["code"] == "unknown_run"
