"""`flowyard chat`: one message, or a conversation at the terminal."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from flowyard.runs.claim import Claim
from flowyard.runs.events import Failure
from services.gateway.chat.conftest import document
from support.cli import Ended, flowyard
from support.queued import apply
from support.remote import Remote, open_remote
from support.terminal import CTRL_C, CTRL_D, Terminal, at_a_terminal

PASTES_ARE_MARKED, PASTE_BEGINS, PASTE_ENDS = "\x1b[?2004h", "\x1b[200~", "\x1b[201~"
ONCE = ("chat", "support", "--quiet", "-m")


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await apply(remote.database, document())
        yield remote


def said_in(claim: Claim) -> list[Any]:
    return [message["content"] for message in json.loads(claim.inputs)["messages"]]


async def reply(remote: Remote, text: str) -> Claim:
    """The next run replies so, and succeeds."""
    claim = await remote.hands.take()
    await remote.hands.step(claim, "answer", {"reply": text})
    await remote.hands.succeed(claim, {"reply": text})
    return claim


def talking(remote: Remote, *args: str) -> AbstractAsyncContextManager[Terminal]:
    return at_a_terminal("chat", "support", *args, folder=remote.folder, environment=remote.environment)


async def once(remote: Remote, answer: str, *args: str) -> tuple[Claim, Ended]:
    sending = asyncio.create_task(remote.cli(*args))
    return await reply(remote, answer), await sending


async def test_one_message_prints_the_answer_alone_and_a_name_continues_the_conversation(remote: Remote) -> None:
    first, ended = await once(remote, "On its way", *ONCE, "Where is it?", "--session", "t1")
    assert (ended.code, ended.out, ended.err) == (0, "On its way\n", "")
    second, _ = await once(remote, "Here", *ONCE, "And the other?", "--session", "t1")
    assert (said_in(first), said_in(second)) == (["Where is it?"], ["Where is it?", "On its way", "And the other?"])


async def test_a_message_without_a_session_begins_one_and_says_which(remote: Remote) -> None:
    _, ended = await once(remote, "On its way", "chat", "support", "-m", "Where is it?")
    [session] = json.loads((await remote.cli("chats", "--json")).out)["items"]
    assert f"conversation {session['id']}, " in ended.err
    claim, ended = await once(remote, "Here", *ONCE, "And the other?", "--session", session["id"])
    assert (len(said_in(claim)), ended.out) == (3, "Here\n")


async def test_all_of_standard_input_is_one_message(remote: Remote) -> None:
    given = remote.environment
    sending = asyncio.create_task(
        asyncio.to_thread(flowyard, "chat", "support", cwd=remote.folder, env=given, stdin="Two\nlines\n")
    )
    claim = await reply(remote, "Thanks")
    ended = await sending
    assert (ended.code, ended.out, said_in(claim)) == (0, "Thanks\n", ["Two\nlines\n"])


async def test_json_is_one_object(remote: Remote) -> None:
    claim, ended = await once(remote, "On its way", *ONCE, "Where is it?", "--json")
    answer = json.loads(ended.out)
    assert (answer["run_id"], answer["answer"], answer["finish_reason"]) == (str(claim.run_id), "On its way", "stop")
    assert (answer["workflow"], answer["tokens"]) == ("support", 0)


async def test_an_answer_that_fails_is_a_line_and_the_code_of_a_failed_run(remote: Remote) -> None:
    sending = asyncio.create_task(remote.cli(*ONCE, "Where is it?"))
    claim = await remote.hands.take()
    await remote.hands.fail(claim, Failure("provider_error", "it is down", "answer"))
    ended = await sending
    assert (ended.code, ended.out, ended.err) == (1, "", "flowyard: it is down (node 'answer') [provider_error]\n")


async def test_without_a_name_the_chat_workflows_are_listed(remote: Remote) -> None:
    await remote.applied()
    ended = await remote.cli("chat")
    assert (ended.code, ended.out) == (0, "support\n")
    assert "flowyard chat support" in ended.err
    assert json.loads((await remote.cli("chat", "--json")).out) == {"items": [{"name": "support"}]}


WRONG = [
    (["suport"], "no chat workflow 'suport' (did you mean 'support'?)"),
    (["nobody-at-all"], "no chat workflow 'nobody-at-all'; flowyard chat lists them"),
    (["poem"], "workflow 'poem' has no chat trigger that is live"),
    (["support", "--message", " "], "the message is empty"),
    (["a" * 300], "no chat workflow 'aaa"),
]


async def test_what_is_wrong_is_reported_before_anything_is_sent(remote: Remote) -> None:
    await remote.applied()
    for args, line in WRONG:
        ended = await remote.cli("chat", *args, *([] if "--message" in args else ["-m", "Hello"]))
        assert (ended.code, line in ended.err) == (2, True), ended.err
    nameless = await remote.cli("chat", "-m", "Hello")
    assert (nameless.code, "which workflow?" in nameless.err) == (2, True)
    assert (await remote.cli("runs")).out == "no runs yet\n"


async def test_an_answer_survives_a_restart_of_the_gateway(remote: Remote) -> None:
    async with remote.running("chat", "support", "-m", "Where is it?") as command:
        claim = await remote.hands.take()
        await remote.hands.followed(claim)
        remote.hands.say(claim, "answer", "On its way")
        assert await command.process.stdout.readexactly(10) == b"On its way"
        await remote.gateway.end()
        await remote.gateway.begin()
        await remote.hands.succeed(claim, {"reply": "On its way"})
        ended = await command.ended()
    assert (ended.code, ended.out) == (0, "\n")


async def test_a_conversation_at_the_terminal(remote: Remote) -> None:
    async with talking(remote) as terminal:
        await terminal.shows("support: a new conversation; /help shows the commands")
        terminal.type("Where is it?\r")
        first = await reply(remote, "On its way")
        await terminal.shows("On its way")
        await terminal.shows(f"run {first.run_id}")
        terminal.type("And the \\\rother?\r")
        second = await reply(remote, "Here")
        await terminal.shows("Here")
        terminal.type("/new\r")
        await terminal.shows("a new conversation")
        terminal.type("//path?\r")
        third = await reply(remote, "Which path?")
        await terminal.shows("Which path?")
        await terminal.shows(PASTES_ARE_MARKED)
        await terminal.shows("> ")
        terminal.type(f"{PASTE_BEGINS}Two\nlines{PASTE_ENDS}\r")
        pasted = await reply(remote, "Both")
        await terminal.shows("Both")
        terminal.type("/quti\r")
        await terminal.shows("no command /quti (did you mean 'quit'?)")
        terminal.type("/quit\r")
        await terminal.shows("it goes on with: flowyard chat support --session ")
        assert await terminal.ended() == 0
    assert said_in(second) == ["Where is it?", "On its way", "And the \nother?"]
    assert said_in(third) == ["/path?"]
    assert said_in(pasted)[-1] == "Two\nlines"


async def test_ctrl_c_cancels_the_answer_and_the_conversation_goes_on(remote: Remote) -> None:
    async with talking(remote, "--session", "t1") as terminal:
        await terminal.shows("/help")
        terminal.type("A long story\r")
        claim = await remote.hands.take()
        await remote.hands.followed(claim)
        remote.hands.say(claim, "answer", "Once upon a time")
        await terminal.shows("Once upon a time")
        terminal.type(CTRL_C)
        await terminal.shows("cancelled")
        run = json.loads((await remote.cli("runs", "show", str(claim.run_id), "--json")).out)
        assert run["cancel_requested"] is True
        terminal.type("/new\rA short one\r")
        await reply(remote, "The end")
        await terminal.shows("The end")
        await terminal.shows("> ")
        assert await terminal.interrupted() == 0


async def test_an_error_is_a_line_and_the_conversation_goes_on(remote: Remote) -> None:
    async with talking(remote) as terminal:
        await terminal.shows("/help")
        terminal.type("Where is it?\r")
        claim = await remote.hands.take()
        await remote.hands.fail(claim, Failure("provider_error", "it is down", "answer"))
        await terminal.shows("flowyard: it is down (node 'answer') [provider_error]")
        terminal.type("Once more\r")
        await reply(remote, "On its way")
        await terminal.shows("On its way")
        await terminal.shows("> ")
        terminal.type(CTRL_D)
        assert await terminal.ended() == 0


async def test_no_colors_are_used_where_they_are_not_wanted(remote: Remote) -> None:
    plain = {**remote.environment, "NO_COLOR": "1"}
    async with at_a_terminal("chat", "support", folder=remote.folder, environment=plain) as terminal:
        await terminal.shows("support: a new conversation; /help shows the commands\r\n")
        terminal.type("/help\r")
        await terminal.shows("/new")
        terminal.type("/quit\r")
        assert await terminal.ended() == 0
    assert not {"\x1b[0m", "\x1b[1m", "\x1b[2m"} & set(re.findall(r"\x1b\[\d+m", terminal.shown))
