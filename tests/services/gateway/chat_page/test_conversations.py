"""Conversations on the page: listed, named, searched, exported, deleted, and only one's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from services.gateway.chat.conftest import document
from services.gateway.chat_page.conftest import HTMX, Person, logged_in, replied, sessions_in
from services.gateway.conftest import Gateway
from support.hands import Hands
from support.queued import apply


async def test_a_conversation_is_called_as_it_begins_until_it_is_named(person: Person, hands: Hands) -> None:
    chat = await person.begin("Where is   my\norder? " + "x" * 300)
    await replied(hands, "A")
    page = await person.page(chat)
    assert '<h1 class="wrap" id="title-of-talk">Where is my order? xxx' in page
    await person.client.post(f"{chat}/title", data={"title": " Orders\n<b>2026</b> "})
    page = await person.page("/chat")
    assert "Orders &lt;b&gt;2026&lt;/b&gt;" in page
    await person.client.post(f"{chat}/title", data={"title": ""})
    assert "Where is my order?" in await person.page("/chat")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ORDER", True), ("holiday", True), ("100%", True), ("%", True), ("1_0", False),
        ("where%order", False), ("\\", False), ("\0", True),
        ("zebra", False),
    ],
)  # fmt: skip
async def test_titles_and_first_messages_are_searched(person: Person, hands: Hands, words: str, *, found: bool) -> None:
    chat = await person.begin("Where is my order? 100%")
    await replied(hands, "zebra")
    await person.client.post(f"{chat}/title", data={"title": "Holiday"})
    answer = await person.client.get("/chat", params={"q": words}, headers=HTMX)
    assert (chat in sessions_in(answer.text)) == found


async def test_an_export_has_all_that_was_said(person: Person, hands: Hands) -> None:
    chat = await person.begin("a *question*")
    await replied(hands, "an **answer**")
    text = await person.client.get(f"{chat}/export.md")
    assert text.headers["content-type"] == "text/markdown; charset=utf-8"
    assert text.headers["content-disposition"] == 'attachment; filename="a-question.md"'
    assert "## You\n\na *question*\n\n## support\n\nan **answer**\n" in text.text
    data = json.loads((await person.client.get(f"{chat}/export.json")).text)
    [turn] = data["items"]
    assert (turn["messages"], turn["answer"]) == ([{"role": "user", "content": "a *question*"}], "an **answer**")
    assert data["opening"] == "a *question*"
    assert (await person.client.get(f"{chat}/export.html")).status_code == 404


async def test_a_deleted_conversation_is_gone(person: Person, hands: Hands) -> None:
    chat = await person.begin()
    await replied(hands, "A")
    answer = await person.client.post(f"{chat}/delete")
    assert (answer.status_code, answer.headers["location"]) == (303, "/chat")
    assert sessions_in(await person.page("/chat")) == []
    assert (await person.client.get(chat)).status_code == 404
    assert (await person.say(chat, "b")).status_code == 404


async def test_facts_are_those_of_the_whole_conversation(person: Person, hands: Hands) -> None:
    chat = await person.begin()
    for text in ("", "b"):
        if text:
            await person.say(chat, text)
        claim = await hands.take()
        await hands.call(claim, "answer", None)
        await hands.succeed(claim, {"reply": "A"})
    page = await person.page(chat)
    assert "2 turns · 20 tokens in, 10 out · cost unknown" in page


async def test_nobody_else_gets_to_a_conversation(
    person: Person, gateway: Gateway, hands: Hands, database: Database
) -> None:
    chat = await person.begin("mine")
    await replied(hands, "A")
    _, key = await Keys(database).create("another", frozenset({"run"}))
    async with logged_in(gateway, key) as other:
        assert sessions_in(await other.page("/chat")) == []
        for path in (chat, f"{chat}/1/stream", f"{chat}/1/steps", f"{chat}/export.md", f"{chat}/export.json"):
            assert (await other.client.get(path)).status_code == 404, path
        for path in (chat, f"{chat}/title", f"{chat}/delete", f"{chat}/1/edit", f"{chat}/1/again", f"{chat}/1/stop"):
            answer = await other.client.post(path, data={"text": "x", "title": "x"})
            assert answer.status_code == 404, path
            assert "mine" not in answer.text
    assert "mine" in await person.page(chat)


async def test_a_key_for_some_workflows_sees_only_theirs(gateway: Gateway, database: Database, hands: Hands) -> None:
    await apply(database, document(name="other"))
    keys = Keys(database)
    _, text = await keys.create("some", frozenset({"run"}), workflows=frozenset({"support"}))
    async with logged_in(gateway, text) as person:
        page = await person.page("/chat")
        assert "/chat/w/support" in page
        assert "/chat/w/other" not in page
        for send in (person.client.get("/chat/w/other"), person.client.post("/chat/w/other", data={"text": "x"})):
            assert (await send).status_code == 403
        await person.begin("a")
        await replied(hands, "A")


async def test_who_may_only_read_sees_and_changes_nothing(gateway: Gateway, database: Database, hands: Hands) -> None:
    async with logged_in(gateway, gateway.keys["read"]) as reader:
        page = await reader.page("/chat/w/support")
        assert "Your key may only read" in page
        assert page.count('method="post"') == page.count('action="/chat/logout"') == 1
        refused = await reader.client.post("/chat/w/support", data={"text": "x"})
        assert refused.status_code == 403


async def test_the_api_lists_and_changes_titles(person: Person, gateway: Gateway, hands: Hands) -> None:
    chat = await person.begin("From the page")
    await replied(hands, "A")
    path = f"/v1/chat/sessions/{chat.rpartition('/')[2]}"
    named = await gateway.client.patch(path, json={"title": "A name"})
    assert (named.json()["title"], named.json()["opening"]) == ("A name", "From the page")
    found = await gateway.client.get("/v1/chat/sessions", params={"q": "name"})
    assert [item["title"] for item in found.json()["items"]] == ["A name"]
    assert (await gateway.client.get("/v1/chat/sessions", params={"q": "none"})).json()["items"] == []
    assert (await gateway.client.patch(path, json={"title": "x" * 121})).status_code == 422
    assert (await gateway.client.patch(path, json={"title": "a\nb"})).status_code == 422
    assert (await gateway.client.patch(path, json={"title": None})).json()["title"] is None


async def test_a_slash_after_the_address_leads_to_the_page(person: Person) -> None:
    answer = await person.client.get("/chat/?q=rain")
    assert (answer.status_code, answer.headers["location"]) == (308, "/chat?q=rain")


async def test_responses_that_nobody_has_named_are_not_listed_unless_they_get_a_title(
    person: Person, gateway: Gateway, hands: Hands
) -> None:
    headers = {"authorization": f"Bearer {gateway.keys['run']}"}

    async def session_of(**body: Any) -> str:
        """The path on the page of the conversation of a response."""
        posting = gateway.client.post("/v1/responses", json={"model": "support", **body}, headers=headers)
        sending = asyncio.create_task(posting)
        await replied(hands, "Yes")
        return f"/chat/c/{(await sending).headers['x-flowyard-session-id']}"

    nameless = await session_of(input="Nameless")
    await session_of(input="Named", metadata={"thread_id": "order-17"})
    page = await person.page("/chat")
    assert "Named" in page
    assert nameless not in page
    assert nameless not in await person.page("/chat?q=nameless")
    assert "Nameless" in await person.page(nameless)
    await person.client.post(f"{nameless}/title", data={"title": "It has a title"})
    assert nameless in await person.page("/chat")
