"""Conversations: who continues which one, what becomes of two messages at once, and who sees what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from flowyard.runs.claim import Claim
from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.storage.runs import Runs
from services.gateway.chat.conftest import Sender, document, said
from services.gateway.conftest import Gateway, Starting
from support.hands import Hands
from support.queued import apply
from support.waiting import eventually

T1 = {"x-flowyard-session-id": "t1"}


class Talk:
    """One client, and the executor that answers it."""

    def __init__(self, sender: Sender, hands: Hands, database: Database) -> None:
        self.sender = sender
        self.hands = hands
        self.database = database

    async def say(self, *messages: Any, reply: str = "ok", **more: Any) -> tuple[httpx.Response, list[Any]]:
        """The answer, and the messages that its run had, without their roles."""
        sending = asyncio.create_task(self.sender.send(*messages, **{"headers": T1, **more}))
        claim = await self.hands.take()
        await self.hands.succeed(claim, {"reply": reply})
        response = await sending
        assert response.status_code == 200, response.text
        return response, await self.messages_of(claim)

    async def messages_of(self, claim: Claim) -> list[Any]:
        run = await Runs(self.database).get(claim.run_id)
        return [message["content"] for message in run.inputs["messages"]]


@pytest.fixture
def talk(sender: Sender, hands: Hands, database: Database) -> Talk:
    return Talk(sender, hands, database)


@asynccontextmanager
async def talking(starting: Starting, hands: Hands, database: Database, options: str) -> AsyncIterator[Talk]:
    await apply(database, document(options))
    async with starting() as gateway:
        yield Talk(Sender(gateway.client), hands, database)


async def test_a_new_message_continues_the_conversation_that_it_names(talk: Talk) -> None:
    first, _ = await talk.say(said("a"), reply="A")
    second, messages = await talk.say(said("b"), reply="B")
    assert messages == ["a", "A", "b"]
    session = first.headers["x-flowyard-session-id"]
    assert second.headers["x-flowyard-session-id"] == session
    run = await Runs(talk.database).get(UUID(second.headers["x-flowyard-run-id"]))
    assert str(run.session_id) == session
    # Its id is as good as its name.
    _, messages = await talk.say(said("c"), headers={"x-flowyard-session-id": session})
    assert messages == ["a", "A", "b", "B", "c"]


async def test_a_request_with_a_history_is_taken_as_it_is_and_goes_on_from_there(talk: Talk) -> None:
    await talk.say(said("a"), reply="A")
    _, messages = await talk.say(said("x"), said("X", "assistant"), said("y"), reply="Y")
    assert messages == ["x", "X", "y"]
    _, messages = await talk.say(said("z"))
    assert messages == ["x", "X", "y", "Y", "z"]


async def test_a_turn_that_failed_is_no_part_of_the_history(talk: Talk) -> None:
    await talk.say(said("a"), reply="A")
    sending = asyncio.create_task(talk.sender.send(said("b"), headers=T1))
    await talk.hands.fail(await talk.hands.take(), Failure("timeout", "slow", "answer"))
    assert (await sending).status_code == 504
    _, messages = await talk.say(said("c"))
    assert messages == ["a", "A", "c"]


@pytest.mark.parametrize(
    "place",
    [
        {"headers": {"x-flowyard-session-id": "s"}},
        {"headers": None, "metadata": {"thread_id": "s"}},
        {"headers": None, "metadata": {"session_id": "s"}},
        {"headers": None, "user": "s"},
        {"headers": {"X-OpenWebUI-Chat-Id": "s"}},
    ],
    ids=["ours", "thread", "session", "user", "open webui"],
)
async def test_a_conversation_can_be_named_at_each_place(talk: Talk, place: dict[str, Any]) -> None:
    await talk.say(said("a"), reply="A", **place)
    _, messages = await talk.say(said("b"), headers={"x-flowyard-session-id": "s"})
    assert messages == ["a", "A", "b"]


async def test_what_a_front_end_wants_for_itself_is_no_part_of_the_conversation(talk: Talk) -> None:
    await talk.say(said("a"), reply="A")
    response, messages = await talk.say(said("### Task:\nGenerate a title"), reply="Title")
    assert messages == ["### Task:\nGenerate a title"]
    assert "x-flowyard-session-id" not in response.headers
    _, messages = await talk.say(said("b"))
    assert messages == ["a", "A", "b"]


async def test_such_requests_can_be_refused(starting: Starting, hands: Hands, database: Database) -> None:
    async with talking(starting, hands, database, "background: refuse") as talk:
        response = await talk.sender.send(said("### Task:\nGenerate a title"))
        assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")
        assert await database.value("SELECT count(*) FROM runs") == 0


async def test_a_second_message_waits_for_the_answer_to_the_first(talk: Talk) -> None:
    sending = [asyncio.create_task(talk.sender.send(said("a"), headers=T1))]
    first = await talk.hands.take()
    for text in "bc":
        sending.append(asyncio.create_task(talk.sender.send(said(text), headers=T1)))
        await asyncio.sleep(0.1)
    assert await talk.database.value("SELECT count(*) FROM runs") == 1
    await talk.hands.succeed(first, {"reply": "A"})
    second = await talk.hands.take()
    assert await talk.messages_of(second) == ["a", "A", "b"]
    await talk.hands.succeed(second, {"reply": "B"})
    third = await talk.hands.take()
    assert await talk.messages_of(third) == ["a", "A", "b", "B", "c"]
    await talk.hands.succeed(third, {"reply": "C"})
    assert [each.status_code for each in await asyncio.gather(*sending)] == [200] * 3


async def test_a_second_message_is_refused_if_the_document_says_so(
    starting: Starting, hands: Hands, database: Database
) -> None:
    async with talking(starting, hands, database, "concurrent: reject") as talk:
        sending = asyncio.create_task(talk.sender.send(said("a"), headers=T1))
        claim = await hands.take()
        for stream in (False, True):
            refused = await talk.sender.send(said("b"), headers=T1, stream=stream)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"], error["run_id"]) == (409, "session_busy", str(claim.run_id))
        # Others aren't concerned.
        other, _ = await talk.say(said("b"), headers={"x-flowyard-session-id": "t2"})
        assert other.status_code == 200
        await hands.succeed(claim, {"reply": "A"})
        assert (await sending).status_code == 200


async def test_a_second_message_ends_the_first_one_if_the_document_says_so(
    starting: Starting, hands: Hands, database: Database
) -> None:
    async with talking(starting, hands, database, "concurrent: cancel_previous") as talk:
        await talk.say(said("z"), reply="Z")
        first = asyncio.create_task(talk.sender.send(said("a"), headers=T1))
        await eventually(lambda: database.value("SELECT count(*) > 1 FROM runs"))
        second = asyncio.create_task(talk.sender.send(said("b"), headers=T1))
        cancelled = await first
        assert (cancelled.status_code, cancelled.json()["error"]["code"]) == (409, "run_cancelled")
        claim = await hands.take()
        assert await talk.messages_of(claim) == ["z", "Z", "b"]
        await hands.succeed(claim, {"reply": "B"})
        assert (await second).status_code == 200


async def test_a_message_waits_only_for_so_long(starting: Starting, hands: Hands, database: Database) -> None:
    await apply(database, document())
    async with starting(wait_max_s=0.3) as gateway:
        sender = Sender(gateway.client)
        assert (await sender.send(said("a"), headers=T1)).status_code == 504
        refused = await sender.send(said("b"), headers=T1)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "session_busy")
        assert int(refused.headers["retry-after"]) > 0
    assert await database.value("SELECT count(*) FROM runs") == 1


async def test_two_gateways_never_add_the_same_turn(starting: Starting, hands: Hands, database: Database) -> None:
    await apply(database, document())
    async with starting() as one, starting() as other:
        keys = [gateway.client.headers["authorization"] for gateway in (one, other)]
        async with other.client_with(keys[0]) as same:
            sending = [
                asyncio.create_task(Sender(client).send(said(f"m{i}"), headers=T1))
                for i, client in enumerate([one.client, same] * 3)
            ]
            for number in range(6):
                claim = await hands.take()
                run = await Runs(database).get(claim.run_id)
                assert len(run.inputs["messages"]) == 2 * number + 1
                await hands.succeed(claim, {"reply": "ok"})
            assert [each.status_code for each in await asyncio.gather(*sending)] == [200] * 6
    assert [row["number"] for row in await database.rows("SELECT number FROM chat_turns ORDER BY 1")] == [*range(1, 7)]


async def test_a_repeated_message_with_the_same_key_is_one_turn(talk: Talk) -> None:
    headers = {**T1, "idempotency-key": "k"}
    first, _ = await talk.say(said("a"), headers=headers, reply="A")
    again = await talk.sender.send(said("a"), headers=headers)
    assert again.json() == first.json()
    assert again.headers["x-flowyard-session-id"] == first.headers["x-flowyard-session-id"]
    assert await talk.database.value("SELECT count(*) FROM chat_turns") == 1


async def test_nobody_sees_or_continues_the_conversation_of_another_key(
    talk: Talk, gateway: Gateway, database: Database
) -> None:
    first, _ = await talk.say(said("secret"), reply="A")
    session = first.headers["x-flowyard-session-id"]
    _, text = await Keys(database).create("mallory", frozenset({"run"}))
    async with gateway.client_with(f"Bearer {text}") as mallory:
        other = Talk(Sender(mallory), talk.hands, database)
        for name in ("t1", session):
            response, messages = await other.say(said("b"), headers={"x-flowyard-session-id": name})
            assert messages == ["b"]
            assert response.headers["x-flowyard-session-id"] != session
        assert all(item["id"] != session for item in (await mallory.get("/v1/chat/sessions")).json()["items"])
        for method, path in (("GET", ""), ("GET", "/turns"), ("DELETE", "")):
            response = await mallory.request(method, f"/v1/chat/sessions/{session}{path}")
            assert (response.status_code, response.json()["code"]) == (404, "unknown_session")
    assert await database.value("SELECT count(*) FROM chat_turns WHERE session_id = $1", UUID(session)) == 1


async def test_the_same_name_in_two_workflows_is_two_conversations(talk: Talk, database: Database) -> None:
    await apply(database, document(name="other"))
    await talk.say(said("a"), reply="A")
    _, messages = await talk.say(said("b"), model="other")
    assert messages == ["b"]


async def test_a_key_reads_and_deletes_its_conversations(talk: Talk, client: httpx.AsyncClient) -> None:
    response, _ = await talk.say(said("be short", "system"), said("a"), reply="A")
    await talk.say(said("b"), reply="B")
    session = response.headers["x-flowyard-session-id"]
    [item] = (await client.get("/v1/chat/sessions")).json()["items"]
    assert (item["id"], item["workflow"], item["name"], item["turns"]) == (session, "support", "t1", 2)
    assert item["spending"]["calls"] == 0
    assert (await client.get(f"/v1/chat/sessions/{session}")).json() == item
    assert (await client.get("/v1/chat/sessions", params={"workflow": "other"})).json()["items"] == []
    page = (await client.get(f"/v1/chat/sessions/{session}/turns", params={"limit": 1})).json()
    [turn] = page["items"]
    assert ([message["content"] for message in turn["messages"]], turn["answer"], turn["status"]) == (
        ["a"], "A", "succeeded",
    )  # fmt: skip
    assert turn["run_id"] == response.headers["x-flowyard-run-id"]
    rest = (await client.get(f"/v1/chat/sessions/{session}/turns", params={"cursor": page["next_cursor"]})).json()
    assert ([turn["answer"] for turn in rest["items"]], rest["next_cursor"]) == (["B"], None)
    assert (await client.delete(f"/v1/chat/sessions/{session}")).json() == item
    assert (await client.get(f"/v1/chat/sessions/{session}")).status_code == 404
    _, messages = await talk.say(said("c"))
    assert messages == ["c"]


async def test_pages_of_conversations_follow_one_another(talk: Talk, client: httpx.AsyncClient) -> None:
    for name in "abc":
        await talk.say(said(), headers={"x-flowyard-session-id": name})
    first = (await client.get("/v1/chat/sessions", params={"limit": 2})).json()
    rest = (await client.get("/v1/chat/sessions", params={"cursor": first["next_cursor"]})).json()
    assert [item["name"] for item in (*first["items"], *rest["items"])] == ["c", "b", "a"]
    assert rest["next_cursor"] is None
    assert (await client.get(f"/v1/chat/sessions/{uuid4()}")).status_code == 404


async def test_a_conversation_forgets_its_oldest_turns_before_it_is_too_large(
    starting: Starting, hands: Hands, database: Database
) -> None:
    await apply(database, document())
    async with starting(inputs_limit=4096) as gateway:
        talk = Talk(Sender(gateway.client), hands, database)
        kept: list[Any] = []
        for i in range(12):
            _, kept = await talk.say(said(f"{i} " + "x" * 300), reply="ok")
        assert kept[-1].startswith("11 ")
        assert 1 < len(kept) < 23
        assert not any(message.startswith("0 ") for message in kept)


async def test_a_new_revision_continues_the_conversation(talk: Talk, database: Database) -> None:
    await talk.say(said("a"), reply="A")
    await apply(database, document().replace("Answer in", "Reply in"))
    _, messages = await talk.say(said("b"))
    assert messages == ["a", "A", "b"]


async def test_a_conversation_is_streamed_too(talk: Talk) -> None:
    await talk.say(said("a"), reply="A")
    async with talk.sender.stream(said("b"), headers=T1) as chunks:
        claim = await talk.hands.take()
        assert await talk.messages_of(claim) == ["a", "A", "b"]
        await talk.hands.succeed(claim, {"reply": "B"})
        assert (await chunks.rest())[-1] == "[DONE]"
        assert "x-flowyard-session-id" in chunks.response.headers
