"""What clients of Open Responses get of a workflow."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.storage.runs import Runs
from services.gateway.chat.conftest import document, said
from services.gateway.chat.response_talk import Talk, Unnamed, begun
from services.gateway.conftest import Starting
from support.hands import Hands
from support.open_responses import checked_kinds, checked_response
from support.queued import apply
from support.waiting import eventually

CALLING: Final = """
flow: {name: helper}
state:
  fields:
    messages: {type: 'list[message]', required: true}
    reply: message
nodes:
  - {id: answer, history: messages, outputs: [reply]}
triggers:
  talk:
    chat: {caller_tools: true}
"""
TOOL: Final[dict[str, Any]] = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.fixture
def talk(client: httpx.AsyncClient, hands: Hands, database: Database) -> Talk:
    return Talk(client, hands, database)


async def test_a_text_is_answered_with_a_message(talk: Talk) -> None:
    sending = asyncio.create_task(talk.send("Hi", instructions="be short", metadata={"a": "b"}))
    claim = await talk.hands.take()
    await talk.hands.call(claim, "answer", None)
    await talk.hands.succeed(claim, {"reply": "Fine"})
    response = await sending
    body = checked_response(response.json())
    assert (body["id"], body["status"], body["model"]) == (f"resp_{claim.run_id}", "completed", "support")
    assert [(item["role"], item["content"][0]["text"]) for item in body["output"]] == [("assistant", "Fine")]
    assert (body["usage"]["input_tokens"], body["usage"]["total_tokens"]) == (10, 15)
    assert (body["instructions"], body["metadata"], body["store"]) == ("be short", {"a": "b"}, True)
    assert await talk.messages_of(claim.run_id) == ["be short", "Hi"]
    assert response.headers["x-flowyard-run-id"] == str(claim.run_id)
    assert body["completed_at"] >= body["created_at"]


async def test_a_stream_sends_the_events_in_their_order(talk: Talk) -> None:
    async with talk.stream() as stream:
        claim, events = await begun(stream, talk.hands)
        talk.hands.say(claim, "classify", "question")
        talk.hands.say(claim, "answer", "Hello")
        events += [await stream.next() for _ in range(3)]
        assert events[-1]["delta"] == "Hello"
        await talk.hands.step(claim, "answer", {"reply": "Hello!"})
        await talk.hands.succeed(claim, {"reply": "Hello!"})
        events += await stream.rest()
    kinds = checked_kinds(events)
    assert kinds == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert isinstance(stream.lines, Unnamed)
    assert stream.lines.names == [f"response.{kind}" for kind in kinds]
    last = events[-2]["response"]
    assert (last["id"], last["output"][0]["content"][0]["text"]) == (f"resp_{claim.run_id}", "Hello!")


async def test_a_run_that_fails_is_an_error_or_the_last_event_of_a_stream(talk: Talk) -> None:
    sending = asyncio.create_task(talk.send())
    await talk.hands.fail(await talk.hands.take(), Failure("budget_exceeded", "no money left", "classify"))
    response = await sending
    assert (response.status_code, response.json()["error"]["code"]) == (402, "budget_exceeded")
    assert response.headers["x-should-retry"] == "false"
    read = await talk.client.get(f"/v1/responses/resp_{response.headers['x-flowyard-run-id']}")
    assert checked_response(read.json())["status"] == "failed"
    async with talk.stream() as stream:
        claim, events = await begun(stream, talk.hands)
        await talk.hands.fail(claim, Failure("budget_exceeded", "no money left", "classify"))
        events += await stream.rest()
    assert checked_kinds(events)[-1] == "failed"
    assert events[-2]["response"]["error"] == {"code": "budget_exceeded", "message": "no money left (node 'classify')"}


async def test_an_answer_that_was_cut_off_is_incomplete(talk: Talk) -> None:
    sending = asyncio.create_task(talk.send())
    await talk.hands.fail(await talk.hands.take(), Failure("reply_cut_off", "too long", "answer", reply="Hel"))
    body = checked_response((await sending).json())
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["output"][0]["content"][0]["text"] == "Hel"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": 7}, "input"),
        ({"input": {"role": "user"}}, "input"),
        ({"input": [{"type": "mcp_call"}]}, "input[0].type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"metadata": {"thread_id": "a\nb"}}, "metadata"),
    ],
)
async def test_a_wrong_request_says_where_and_starts_nothing(talk: Talk, change: dict[str, Any], param: str) -> None:
    body = {"model": "support", "input": "Hi", **change}
    response = await talk.client.post(
        "/v1/responses", json={name: value for name, value in body.items() if value is not None}
    )
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (400, "invalid_request", "invalid_request_error")
    assert error["param"] == param
    assert await talk.database.value("SELECT count(*) FROM runs") == 0


@pytest.mark.parametrize("name", ["x", "resp_1", "resp_01990000-0000-7000-8000-000000000001"])
async def test_an_unknown_response_is_not_found(talk: Talk, name: str) -> None:
    response = await talk.client.get(f"/v1/responses/{name}")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "response_not_found", None)


async def test_what_the_workflow_does_not_take_is_a_problem_of_the_input(
    starting: Starting, hands: Hands, database: Database
) -> None:
    of_messages = "{type: 'list[message]', required: true"
    limited = document().replace(of_messages, f"{of_messages}, max_items: 1")
    await apply(database, limited)
    async with starting() as gateway:
        response = await Talk(gateway.client, hands, database).send([said("a"), said("b")])
    assert (response.status_code, response.json()["error"]["param"]) == (400, "input")


async def test_functions_are_called_and_their_results_go_on(
    starting: Starting, hands: Hands, database: Database
) -> None:
    await apply(database, CALLING)
    async with starting() as gateway:
        talk = Talk(gateway.client, hands, database)
        called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        first, _ = await talk.say("Hi", reply=called, tools=[TOOL], tool_choice="required", model="helper")
        [item] = first["output"]
        assert (item["type"], item["call_id"]) == ("function_call", "call_1")
        assert (item["name"], item["arguments"]) == ("f", "{}")
        assert (first["tools"][0]["name"], first["tool_choice"]) == ("f", "required")
        run = await Runs(database).get(UUID(first["id"].removeprefix("resp_")))
        assert run.inputs["_caller"]["tool_choice"] == "required"
        assert run.inputs["_caller"]["tools"][0]["function"]["name"] == "f"
        result = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
        answer = {"role": "assistant", "content": "It is 42", "tool_calls": None}
        second, messages = await talk.say(
            [result], reply=answer, previous_response_id=first["id"], tools=[TOOL], model="helper"
        )
        assert messages == ["Hi", None, "42"]
        assert second["output"][0]["content"][0]["text"] == "It is 42"
        read = await talk.client.get(f"/v1/responses/{second['id']}")
        assert checked_response(read.json()) == second


async def test_an_item_that_is_only_named_is_that_of_the_stored_response(
    starting: Starting, hands: Hands, database: Database
) -> None:
    await apply(database, CALLING)
    result = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
    async with starting() as gateway:
        talk = Talk(gateway.client, hands, database)
        called = {"role": "assistant", "content": "I look", "tool_calls": [CALL]}
        first, _ = await talk.say("Hi", reply=called, tools=[TOOL], model="helper")
        named = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
        thought = {"type": "item_reference", "id": "rs_x"}
        answer = {"role": "assistant", "content": "It is 42"}
        second, messages = await talk.say([said("Hi"), thought, *named, result], reply=answer, model="helper")
        assert messages == ["Hi", "I look", "42"]
        run = await Runs(database).get(UUID(second["id"].removeprefix("resp_")))
        assert run.inputs["messages"][1]["tool_calls"] == [CALL]
        unstored, _ = await talk.say("Hi", reply=answer, model="helper", store=False)
        _, text = await Keys(database).create("mallory", frozenset({"run"}))
        async with gateway.client_with(f"Bearer {text}") as client:
            stranger = Talk(client, hands, database)
            lost = [{"type": "item_reference", "id": unstored["output"][0]["id"]}]
            refused = [
                await stranger.send([said("Hi"), *named], model="helper"),
                await talk.send([said("Hi"), *lost], model="helper"),
                await talk.send([said("Hi"), {"type": "item_reference"}], model="helper"),
            ]
    errors = [response.json()["error"] for response in refused]
    assert {(error["code"], error["param"]) for error in errors} == {("invalid_request", "input[1]")}


async def test_a_client_that_goes_away_cancels_the_run_if_the_trigger_says_so(
    starting: Starting, hands: Hands, database: Database
) -> None:
    await apply(database, document("on_disconnect: cancel"))
    async with starting() as gateway:
        talk = Talk(gateway.client, hands, database)
        async with talk.stream() as stream:
            claim, _ = await begun(stream, hands)

        async def is_cancelled() -> bool:
            return (await Runs(database).get(claim.run_id)).cancel_requested

        await eventually(is_cancelled)
