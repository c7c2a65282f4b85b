"""`flowyard chats`: the conversations of one's own key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.gateway.chat.conftest import Sender, document, said
from support.queued import apply
from support.remote import Remote, open_remote


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await apply(remote.database, document())
        yield remote


async def say(remote: Remote, text: str, reply: Any) -> None:
    headers = {"authorization": f"Bearer {remote.key}", "x-flowyard-session-id": "t1"}
    async with httpx.AsyncClient(base_url=remote.gateway.url, headers=headers) as client:
        sending = asyncio.create_task(Sender(client).send(said(text)))
        await remote.hands.succeed(await remote.hands.take(), {"reply": reply})
        assert (await sending).status_code == 200


async def test_conversations_are_listed_shown_and_deleted(remote: Remote) -> None:
    assert (await remote.cli("chats")).out == "no conversations\n"
    await say(remote, "Where is my order?", "On its way")
    await say(remote, "And the other?", "Here")
    [session] = json.loads((await remote.cli("chats", "--json")).out)["items"]
    listed = await remote.cli("chats", "list", "--workflow", "support")
    assert session["id"] in listed.out
    assert (session["name"], session["turns"]) == ("t1", 2)
    assert (await remote.cli("chats", "--workflow", "other")).out == "no conversations\n"
    lines = (await remote.cli("chats", "show", session["id"])).out.splitlines()
    assert [line.partition("  [run")[0] for line in lines] == [
        "user: Where is my order?",
        "assistant: On its way",
        "user: And the other?",
        "assistant: Here",
    ]
    turns = json.loads((await remote.cli("chats", "show", session["id"], "--json")).out)["items"]
    assert [turn["answer"] for turn in turns] == ["On its way", "Here"]
    renamed = await remote.cli("chats", "rename", session["id"], "My order")
    assert renamed.out == f"{session['id']}: My order\n"
    assert "My order" in (await remote.cli("chats")).out
    assert (await remote.cli("chats", "rename", session["id"], "")).out == f"{session['id']}: no title\n"
    assert "Where is my order?" in (await remote.cli("chats")).out
    too_long = await remote.process("chats", "rename", session["id"], "x" * 121)
    assert (too_long.code, "at most 120 characters" in too_long.err) == (2, True)
    assert (await remote.cli("chats", "delete", session["id"])).out == f"{session['id']}: forgotten\n"
    gone = await remote.cli("chats", "show", session["id"])
    assert (gone.code, "no conversation" in gone.err) == (2, True)
    wrong = await remote.process("chats", "show", "mine")
    assert (wrong.code, "see `flowyard chats`" in wrong.err) == (2, True)
