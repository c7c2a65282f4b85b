"""What of a conversation `previous_response_id` continues, and for whom."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import uuid4

import httpx
import pytest

from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from services.gateway.chat.conftest import document, said
from services.gateway.chat.response_talk import Talk, begun
from services.gateway.conftest import Gateway, Starting
from support.hands import Hands
from support.open_responses import checked_response
from support.queued import apply
from support.waiting import eventually

_WAITING: Final = """
SELECT count(*) = 2 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE d.datname = current_database() AND l.relation = 'runs'::regclass AND NOT l.granted
"""


@pytest.fixture
def talk(client: httpx.AsyncClient, hands: Hands, database: Database) -> Talk:
    return Talk(client, hands, database)


async def test_a_response_is_continued_with_all_that_was_said(talk: Talk) -> None:
    first, _ = await talk.say("a", reply="A", instructions="old")
    second, messages = await talk.say("b", reply="B", previous_response_id=first["id"], instructions="new")
    assert messages == ["new", "a", "A", "b"]
    third, messages = await talk.say([said("c")], reply="C", previous_response_id=second["id"])
    assert messages == ["a", "A", "b", "B", "c"]
    assert third["previous_response_id"] == second["id"]
    # The three are one conversation.
    [session] = (await talk.client.get("/v1/chat/sessions")).json()["items"]
    assert session["turns"] == 3
    turns = (await talk.client.get(f"/v1/chat/sessions/{session['id']}/turns")).json()["items"]
    assert [[message["content"] for message in turn["messages"]] for turn in turns] == [["a"], ["b"], ["c"]]


async def test_a_response_that_was_continued_can_be_continued_otherwise(talk: Talk) -> None:
    first, _ = await talk.say("a", reply="A")
    await talk.say("b", reply="B", previous_response_id=first["id"])
    other, messages = await talk.say("x", reply="X", previous_response_id=first["id"])
    assert messages == ["a", "A", "x"]
    _, messages = await talk.say("y", previous_response_id=other["id"])
    assert messages == ["a", "A", "x", "X", "y"]
    sessions = (await talk.client.get("/v1/chat/sessions")).json()["items"]
    assert [session["turns"] for session in sessions] == [2, 2]


async def test_two_requests_that_continue_one_response_at_once_do_not_wait_for_each_other(
    talk: Talk, database: Database
) -> None:
    first, _ = await talk.say("a", reply="A")
    async with database.transaction() as other:
        await other.execute("LOCK TABLE runs IN SHARE MODE")
        sending = [asyncio.create_task(talk.send(text, previous_response_id=first["id"])) for text in "bc"]
        await eventually(lambda: database.value(_WAITING))
    claims = [await talk.hands.take(), await talk.hands.take()]
    assert sorted([await talk.messages_of(claim.run_id) for claim in claims]) == [["a", "A", "b"], ["a", "A", "c"]]
    for claim in claims:
        await talk.hands.succeed(claim, {"reply": "ok"})
    assert [response.status_code for response in await asyncio.gather(*sending)] == [200, 200]
    sessions = (await talk.client.get("/v1/chat/sessions")).json()["items"]
    assert sorted(session["turns"] for session in sessions) == [1, 2]


async def test_what_is_not_stored_belongs_to_no_conversation(talk: Talk) -> None:
    first, _ = await talk.say("a", reply="A")
    second, messages = await talk.say("b", previous_response_id=first["id"], store=False)
    assert (messages, second["store"]) == (["a", "A", "b"], False)
    response = await talk.send("c", previous_response_id=second["id"])
    assert (response.status_code, response.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert (await talk.client.get(f"/v1/responses/{second['id']}")).status_code == 404
    assert (await talk.client.get(f"/v1/responses/{first['id']}")).status_code == 200
    headers = {"idempotency-key": "k"}
    third, messages = await talk.say("d", store=False, metadata={"thread_id": "t"}, headers=headers)
    again = await talk.send("d", store=False, metadata={"thread_id": "t"}, headers=headers)
    assert (messages, again.json()["id"]) == (["d"], third["id"])
    [session] = (await talk.client.get("/v1/chat/sessions")).json()["items"]
    assert session["turns"] == 1


async def test_a_response_is_read_and_continued_after_its_workflow_has_changed(talk: Talk, database: Database) -> None:
    first, _ = await talk.say("a", reply="A")
    await apply(database, document().replace("reply", "words"))
    assert (await talk.client.get(f"/v1/responses/{first['id']}")).json() == first
    sending = asyncio.create_task(talk.send("b", previous_response_id=first["id"]))
    claim = await talk.hands.take()
    await talk.hands.succeed(claim, {"words": "B"})
    assert (await sending).json()["output"][0]["content"][0]["text"] == "B"
    assert await talk.messages_of(claim.run_id) == ["a", "A", "b"]


async def test_a_response_of_somebody_else_or_of_another_workflow_does_not_exist(
    gateway: Gateway, talk: Talk, database: Database
) -> None:
    first, _ = await talk.say("a", reply="A")
    await apply(database, document(name="other"))
    _, text = await Keys(database).create("mallory", frozenset({"read", "run"}))
    async with gateway.client_with(f"Bearer {text}") as client:
        strangers = Talk(client, talk.hands, database)
        refused = [
            await strangers.send("b", previous_response_id=first["id"]),
            await talk.send("b", previous_response_id=first["id"], model="other"),
            await talk.send("b", previous_response_id=f"resp_{uuid4()}"),
            await talk.send("b", previous_response_id="x"),
        ]
        unread = await client.get(f"/v1/responses/{first['id']}")
    errors = [(response.status_code, response.json()["error"]) for response in refused]
    assert {(status, error["code"], error["param"]) for status, error in errors} == {
        (400, "previous_response_not_found", "previous_response_id")
    }
    assert (unread.status_code, unread.json()["error"]["code"]) == (404, "response_not_found")
    assert await database.value("SELECT count(*) FROM runs") == 1


async def test_a_key_for_other_workflows_reads_none_of_this_one(
    gateway: Gateway, talk: Talk, database: Database
) -> None:
    info, text = await Keys(database).create("some", frozenset({"read", "run"}))
    async with gateway.client_with(f"Bearer {text}") as client:
        first, _ = await Talk(client, talk.hands, database).say()
        assert (await client.get(f"/v1/responses/{first['id']}")).status_code == 200
        await database.execute("UPDATE api_keys SET workflows = '{other}' WHERE id = $1", info.id)

        async def is_unknown() -> bool:
            response = await client.get(f"/v1/responses/{first['id']}")
            error = response.json()["error"] or {}
            return bool(error.get("code") == "response_not_found")

        # A gateway knows keys for some seconds.
        await eventually(is_unknown)


async def test_a_chat_completion_is_no_response(talk: Talk) -> None:
    asking = {"model": "support", "messages": [said("a")], "user": "u"}
    sending = asyncio.create_task(talk.client.post("/v1/chat/completions", json=asking))
    claim = await talk.hands.take()
    await talk.hands.succeed(claim, {"reply": "A"})
    assert (await sending).status_code == 200
    assert (await talk.send("b", previous_response_id=f"resp_{claim.run_id}")).status_code == 400
    assert (await talk.client.get(f"/v1/responses/resp_{claim.run_id}")).status_code == 404


async def test_a_response_without_an_answer_cannot_be_continued(talk: Talk) -> None:
    sending = asyncio.create_task(talk.send())
    claim = await talk.hands.take()
    await talk.hands.fail(claim, Failure("budget_exceeded", "no money left", "classify"))
    await sending
    response = await talk.send("b", previous_response_id=f"resp_{claim.run_id}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "previous_response_not_found")


async def test_a_response_that_is_not_ended_is_waited_for(talk: Talk) -> None:
    async with talk.stream("a") as stream:
        claim, _ = await begun(stream, talk.hands)
        following = asyncio.create_task(talk.send("b", previous_response_id=f"resp_{claim.run_id}"))
        # Requests that come later are answered before it.
        for _ in range(5):
            read = await talk.client.get(f"/v1/responses/resp_{claim.run_id}")
            assert checked_response(read.json())["status"] == "in_progress"
        assert not following.done()
        await talk.hands.succeed(claim, {"reply": "A"})
        await stream.rest()
    second = await talk.hands.take()
    await talk.hands.succeed(second, {"reply": "B"})
    assert (await following).status_code == 200
    assert await talk.messages_of(second.run_id) == ["a", "A", "b"]


async def test_a_response_that_is_not_ended_is_busy_where_messages_do_not_wait(
    starting: Starting, hands: Hands, database: Database
) -> None:
    await apply(database, document("concurrent: reject"))
    async with starting() as gateway:
        talk = Talk(gateway.client, hands, database)
        async with talk.stream("a") as stream:
            claim, _ = await begun(stream, hands)
            response = await talk.send("b", previous_response_id=f"resp_{claim.run_id}")
            assert (response.status_code, response.json()["error"]["code"]) == (409, "session_busy")
            await hands.succeed(claim, {"reply": "A"})
            await stream.rest()


async def test_a_named_conversation_is_continued_without_an_id(talk: Talk) -> None:
    thread = {"metadata": {"thread_id": "t"}}
    first, _ = await talk.say("a", reply="A", **thread)
    _, messages = await talk.say("b", reply="B", **thread)
    assert messages == ["a", "A", "b"]
    # An id counts more than a name.
    _, messages = await talk.say("c", previous_response_id=first["id"], **thread)
    assert messages == ["a", "A", "c"]


async def test_the_same_request_gets_the_answer_of_the_same_run(talk: Talk) -> None:
    headers = {"idempotency-key": "k"}
    first, _ = await talk.say("a", headers=headers)
    again = await talk.send("a", headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    session = await talk.database.value("SELECT id FROM chat_sessions")
    assert again.headers["x-flowyard-session-id"] == str(session)
    assert (await talk.send("b", headers=headers)).json()["error"]["code"] == "idempotency_mismatch"
    assert await talk.database.value("SELECT count(*) FROM chat_sessions") == 1
