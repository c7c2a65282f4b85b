"""What clients of OpenAI's chat API get of a workflow: the twelve details that real ones need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

import httpx
import pytest

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunFollowed, RunTokens
from flowyard.runs.claim import Claim
from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.storage.runs import Runs
from services.gateway.chat.conftest import Chunks, Sender, answered, document, said, text_of
from services.gateway.conftest import Gateway, Starting
from support.hands import Hands
from support.queued import apply
from support.waiting import eventually

WHOLE = [said("be short", "system"), said("Hi"), said("Hello", "assistant"), said("How are you?")]


async def begun(chunks: Chunks, hands: Hands) -> Claim:
    """The run of a stream, at work, after the client has got the first chunk. No token is lost from now on."""
    claim = await hands.take()
    await hands.followed(claim)
    first = await chunks.next()
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    return claim


async def test_a_request_is_answered_with_the_reply_of_its_run(
    sender: Sender, hands: Hands, database: Database
) -> None:
    response = await answered(sender, hands, "Fine", *WHOLE)
    assert response.status_code == 200
    run = await Runs(database).get(UUID(response.headers["x-flowyard-run-id"]))
    body = response.json()
    assert (body["id"], body["object"], body["model"]) == (f"chatcmpl-{run.id}", "chat.completion", "support")
    assert body["created"] == int(run.created_at.timestamp())
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Fine", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert [message["content"] for message in run.inputs["messages"]] == ["be short", "Hi", "Hello", "How are you?"]
    assert "x-flowyard-session-id" not in response.headers


async def test_usage_is_that_of_all_calls_of_the_run_and_null_if_one_is_unknown(
    sender: Sender, hands: Hands, database: Database
) -> None:
    sending = asyncio.create_task(sender.send())
    claim = await hands.take()
    await hands.call(claim, "classify", None)
    await hands.call(claim, "answer", None)
    await hands.succeed(claim, {"reply": "Fine"})
    response = await sending
    assert response.json()["usage"] == {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    sending = asyncio.create_task(sender.send())
    claim = await hands.take()
    await hands.call(claim, "answer", None)
    await database.execute("UPDATE step_parts SET tokens_out = NULL WHERE run_id = $1", claim.run_id)
    await hands.succeed(claim, {"reply": "Fine"})
    assert (await sending).json()["usage"] is None


async def test_a_stream_sends_the_tokens_of_the_answering_node_and_no_others(sender: Sender, hands: Hands) -> None:
    async with sender.stream() as chunks:
        claim = await begun(chunks, hands)
        hands.say(claim, "classify", "question")
        hands.say(claim, "answer", "Hello")
        assert text_of([await chunks.next()]) == "Hello"
        hands.say(claim, "answer", " world")
        assert text_of([await chunks.next()]) == " world"
        await hands.step(claim, "answer", {"reply": "Hello world!"})
        await hands.succeed(claim, {"reply": "Hello world!"})
        lost, last, done = await chunks.rest()
    assert text_of([lost]) == "!"
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"], done) == ({}, "stop", "[DONE]")
    assert "usage" not in last
    assert last["id"] == f"chatcmpl-{claim.run_id}"
    assert chunks.response.headers["x-flowyard-run-id"] == str(claim.run_id)


async def test_what_is_lost_of_the_tokens_does_not_wait_for_the_nodes_after_the_answer(
    sender: Sender, hands: Hands, database: Database
) -> None:
    more = "  - {id: file, set: {kind: filed}}\nresult:"
    await apply(database, document().replace("result:", more))
    async with sender.stream() as chunks:
        claim = await begun(chunks, hands)
        await hands.step(claim, "answer", {"reply": "Hello"})
        assert text_of([await chunks.next()]) == "Hello"
        await hands.succeed(claim, {"reply": "Hello"})
        last, done = await chunks.rest()
    assert (last["choices"][0]["finish_reason"], done) == ("stop", "[DONE]")


async def test_executors_know_of_the_reader_of_a_turn_before_they_can_claim_its_run(
    sender: Sender, hands: Hands, database: Database, bus: Bus
) -> None:
    followed: asyncio.Queue[RunFollowed] = asyncio.Queue()

    async def send() -> None:
        async with sender.stream(user="ada") as chunks:
            await chunks.rest()

    async with bus.subscribe(subjects.ANY_RUN_FOLLOWED, RunFollowed, followed.put):
        async with database.transaction() as other:
            await other.execute("LOCK TABLE runs IN SHARE MODE")
            sending = asyncio.create_task(send())
            run_id = (await asyncio.wait_for(followed.get(), 4)).run_id
        claim = await hands.take()
        await hands.succeed(claim, {"reply": "Hi"})
        await sending
    assert claim.run_id == run_id


async def test_usage_is_streamed_only_to_who_wants_it(sender: Sender, hands: Hands) -> None:
    async with sender.stream(stream_options={"include_usage": True}) as chunks:
        claim = await hands.take()
        await hands.call(claim, "answer", None)
        await hands.succeed(claim, {"reply": "Fine"})
        events = await chunks.rest()
    assert [event["usage"] for event in events[:-2]] == [None, None, None]
    assert (events[-2]["choices"], events[-2]["usage"]["total_tokens"], events[-1]) == ([], 15, "[DONE]")


async def test_a_try_that_answers_otherwise_ends_the_stream_with_an_error(
    sender: Sender, hands: Hands, bus: Bus
) -> None:
    async with sender.stream() as chunks:
        claim = await begun(chunks, hands)
        hands.say(claim, "answer", "Hello")
        await chunks.next()
        again = RunTokens(run_id=claim.run_id, epoch=claim.epoch, node="answer", visit=1, call=2, text="Good evening")
        bus.publish(again)
        await hands.succeed(claim, {"reply": "Good evening"})
        [error] = await chunks.rest()
    assert error["error"]["code"] == "answer_changed"


async def test_a_run_that_fails_is_an_error_of_openai(sender: Sender, hands: Hands) -> None:
    sending = asyncio.create_task(sender.send())
    await hands.fail(await hands.take(), Failure("budget_exceeded", "no money left", "classify"))
    response = await sending
    assert (response.status_code, response.headers["x-should-retry"]) == (402, "false")
    assert response.json() == {
        "error": {
            "message": "no money left (node 'classify')",
            "type": "insufficient_quota",
            "param": None,
            "code": "budget_exceeded",
        }
    }
    assert "x-flowyard-run-id" in response.headers


async def test_a_run_that_fails_in_the_middle_of_a_stream_ends_it_with_an_error_and_no_reason(
    sender: Sender, hands: Hands
) -> None:
    async with sender.stream() as chunks:
        claim = await begun(chunks, hands)
        hands.say(claim, "answer", "Hel")
        await chunks.next()
        await hands.fail(claim, Failure("provider_error", "hung up", "answer"))
        [event] = await chunks.rest()
    assert (event["error"]["code"], event["error"]["type"]) == ("provider_error", "server_error")


@pytest.mark.parametrize(
    ("code", "finish"), [("reply_cut_off", "length"), ("filtered", "content_filter")], ids=["length", "filter"]
)
async def test_a_reply_that_was_cut_off_is_an_answer_with_its_reason(
    sender: Sender, hands: Hands, code: str, finish: str
) -> None:
    failure = Failure(code, "the reply was cut off", "answer", reply="Hello wor")
    sending = asyncio.create_task(sender.send())
    await hands.fail(await hands.take(), failure)
    [choice] = (await sending).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello wor", finish)
    async with sender.stream() as chunks:
        claim = await begun(chunks, hands)
        hands.say(claim, "answer", "Hello")
        await chunks.next()
        await hands.fail(claim, failure)
        last, done = await chunks.rest()
    assert (last["choices"][0]["finish_reason"], done) == (finish, "[DONE]")


async def test_a_refusal_of_the_model_is_told_as_openai_does(sender: Sender, hands: Hands) -> None:
    failure = Failure("refused", "openai/small: the model refused to answer: no", "answer")
    sending = asyncio.create_task(sender.send())
    await hands.fail(await hands.take(), failure)
    [choice] = (await sending).json()["choices"]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, failure.message)
    async with sender.stream() as chunks:
        await hands.fail(await begun(chunks, hands), failure)
        deltas = [event["choices"][0]["delta"] for event in (await chunks.rest())[:-1]]
    assert deltas == [{"refusal": failure.message}, {}]


async def test_the_same_failures_elsewhere_are_no_answers(sender: Sender, hands: Hands) -> None:
    sending = asyncio.create_task(sender.send())
    await hands.fail(await hands.take(), Failure("reply_cut_off", "cut", "classify", reply="x"))
    response = await sending
    assert (response.status_code, response.json()["error"]["code"]) == (500, "reply_cut_off")


async def test_a_cancelled_run_is_an_error(sender: Sender, hands: Hands, client: httpx.AsyncClient) -> None:
    sending = asyncio.create_task(sender.send())
    run_id = await eventually(lambda: newest(client))
    await client.post(f"/v1/runs/{run_id}/cancel")
    response = await sending
    assert (response.status_code, response.json()["error"]["code"]) == (409, "run_cancelled")


async def newest(client: httpx.AsyncClient) -> str | None:
    items = (await client.get("/v1/runs", params={"workflow": "support"})).json()["items"]
    return items[0]["id"] if items else None


async def test_a_run_that_takes_too_long_goes_on_and_the_client_learns_its_id(
    starting: Starting, database: Database
) -> None:
    await apply(database, document())
    async with starting(wait_max_s=0.2) as gateway:
        response = await Sender(gateway.client).send()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "run_not_ended")
    run = await Runs(database).get(UUID(response.headers["x-flowyard-run-id"]))
    assert run.status == "queued"


async def test_steps_are_shown_as_reasoning_if_the_document_wants_that(
    starting: Starting, database: Database, hands: Hands
) -> None:
    await apply(database, document("show_steps: true"))
    async with starting() as gateway:
        sender = Sender(gateway.client)
        async with sender.stream() as chunks:
            claim = await begun(chunks, hands)
            await hands.step(claim, "classify", {"kind": "question"})
            delta = (await chunks.next())["choices"][0]["delta"]
            assert delta == {"reasoning_content": "classify: question\n"}
            await hands.step(claim, "answer", {"reply": "Hi"})
            await hands.succeed(claim, {"reply": "Hi"})
            assert text_of(await chunks.rest()) == "Hi"
        sending = asyncio.create_task(sender.send())
        claim = await hands.take()
        await hands.step(claim, "classify", {"kind": "question"})
        await hands.step(claim, "answer", {"reply": "Hi"})
        await hands.succeed(claim, {"reply": "Hi"})
        message = (await sending).json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hi", "classify: question\n")


async def test_a_large_answer_comes_whole(sender: Sender, hands: Hands) -> None:
    large = "word " * 80_000 + "end"
    response = await answered(sender, hands, large)
    assert response.json()["choices"][0]["message"]["content"] == large
    async with sender.stream() as chunks:
        await hands.succeed(await hands.take(), {"reply": large})
        assert text_of((await chunks.rest())[:-1]) == large


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("option", ["cancel", "finish"])
async def test_a_client_that_goes_away_cancels_its_run_only_if_the_document_says_so(
    starting: Starting, database: Database, hands: Hands, option: str, *, stream: bool
) -> None:
    await apply(database, document(f"on_disconnect: {option}"))
    async with starting() as gateway:
        client = gateway.client_with(gateway.client.headers["authorization"])
        sending = asyncio.create_task(Sender(client).send(stream=stream))
        claim = await hands.take()
        await asyncio.sleep(0.1)
        sending.cancel()
        await asyncio.wait([sending])
        await client.aclose()
        if option == "cancel":
            await eventually(lambda: cancel_requested(database, claim.run_id))
        else:
            # A second request comes later than the disconnection.
            await Sender(gateway.client).client.get("/v1/models")
            assert not await cancel_requested(database, claim.run_id)


async def cancel_requested(database: Database, run_id: UUID) -> bool:
    return (await Runs(database).get(run_id)).cancel_requested


async def test_a_stream_ends_when_its_key_is_revoked(gateway: Gateway, database: Database, hands: Hands) -> None:
    info, text = await Keys(database).create("short", frozenset({"run"}))
    async with gateway.client_with(f"Bearer {text}") as client, Sender(client).stream() as chunks:
        claim = await begun(chunks, hands)
        async with gateway.as_one_who_may("admin") as admin:
            await admin.delete(f"/v1/keys/{info.id}")
        await asyncio.sleep(0.6)
        hands.say(claim, "answer", "secret")
        [error] = await chunks.rest()
    assert error["error"]["code"] == "unauthorized"


async def test_a_stream_begins_with_an_answer_and_nothing_else(sender: Sender, hands: Hands) -> None:
    async with sender.client.stream(
        "POST", "/v1/chat/completions", json={"model": "support", "messages": [said()], "stream": True}
    ) as response:
        await hands.succeed(await hands.take(), {"reply": "Hi"})
        text = "".join([part async for part in response.aiter_text()])
    assert response.headers["content-type"].startswith("text/event-stream")
    assert text.startswith('data: {"id":"chatcmpl-')
    assert text.endswith("data: [DONE]\n\n")
    assert "retry:" not in text


TOOLS: Final = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.fixture
async def tooled(starting: Starting, database: Database) -> AsyncIterator[Sender]:
    text = document("caller_tools: true").replace("reply: str", "reply: message")
    await apply(database, text)
    async with starting() as gateway:
        yield Sender(gateway.client)


async def test_tools_of_the_caller_are_handed_to_the_run_and_its_calls_are_the_answer(
    tooled: Sender, hands: Hands, database: Database
) -> None:
    reply = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call_2"}]}
    sending = asyncio.create_task(tooled.send(tools=TOOLS, tool_choice="auto", parallel_tool_calls=True))
    claim = await hands.take()
    offered = (await Runs(database).get(claim.run_id)).inputs["_caller"]
    assert ([tool["function"]["name"] for tool in offered["tools"]], offered["tool_choice"]) == (["look"], "auto")
    await hands.succeed(claim, {"reply": reply})
    [choice] = (await sending).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert choice["message"]["tool_calls"] == reply["tool_calls"]


async def test_calls_of_tools_are_streamed_whole_and_numbered(tooled: Sender, hands: Hands) -> None:
    reply = {"role": "assistant", "content": "I look", "tool_calls": [CALL, {**CALL, "id": "call_2"}]}
    async with tooled.stream(tools=TOOLS) as chunks:
        claim = await begun(chunks, hands)
        hands.say(claim, "answer", "I look")
        await hands.step(claim, "answer", {"reply": reply})
        await hands.succeed(claim, {"reply": reply})
        events = await chunks.rest()
    assert text_of(events) == "I look"
    calls = [call for event in events[:-1] for call in event["choices"][0]["delta"].get("tool_calls", ())]
    assert calls == [{"index": 0, **CALL}, {"index": 1, **CALL, "id": "call_2"}]
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


async def test_results_of_tools_go_on_in_the_conversation(tooled: Sender, hands: Hands, database: Database) -> None:
    headers = {"x-flowyard-session-id": "t"}
    sending = asyncio.create_task(tooled.send(tools=TOOLS, headers=headers))
    reply = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    await hands.succeed(await hands.take(), {"reply": reply})
    await sending
    result = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
    sending = asyncio.create_task(tooled.send(result, tools=TOOLS, headers=headers))
    claim = await hands.take()
    messages = (await Runs(database).get(claim.run_id)).inputs["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert messages[1]["tool_calls"] == [CALL]
    await hands.succeed(claim, {"reply": {"role": "assistant", "content": "It is 42", "tool_calls": None}})
    [choice] = (await sending).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("It is 42", "stop")


async def test_wrong_tools_are_an_error_of_the_request(tooled: Sender, database: Database) -> None:
    response = await tooled.send(tools=["look"])
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_inputs", "tools[0]")
    assert await database.value("SELECT count(*) FROM runs") == 0
