"""A message that is edited, and an answer that is asked for again: what came after is left out, and kept."""

from __future__ import annotations

import re
from typing import Any

from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.runs import Runs
from services.gateway.chat_page.conftest import HTMX, Person, replied
from support.hands import Hands


def turns_in(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<li class="turn[^>]*data-number="(\d+)"', page)]


async def messages_of_next(hands: Hands, database: Database, reply: str) -> list[Any]:
    """What the next run gets. It replies."""
    claim = await hands.take()
    run = await Runs(database).get(claim.run_id)
    await hands.succeed(claim, {"reply": reply})
    return [message["content"] for message in run.inputs["messages"]]


async def talked(person: Person, hands: Hands, *texts: str) -> str:
    """A conversation in which each message is answered by itself in capitals."""
    chat = await person.begin(texts[0])
    await replied(hands, texts[0].upper())
    for text in texts[1:]:
        await person.say(chat, text)
        await replied(hands, text.upper())
    return chat


async def test_an_edited_message_is_answered_with_what_was_said_before_it(
    person: Person, hands: Hands, database: Database
) -> None:
    chat = await talked(person, hands, "a", "b", "c")
    answer = await person.say(f"{chat}/2/edit", "x")
    assert turns_in(answer.text) == [1, 4]
    assert await messages_of_next(hands, database, "X") == ["a", "A", "x"]
    # It goes on from there.
    await person.say(chat, "y")
    assert await messages_of_next(hands, database, "Y") == ["a", "A", "x", "X", "y"]
    assert turns_in(await person.page(chat)) == [1, 4, 5]


async def test_nothing_is_lost(person: Person, hands: Hands) -> None:
    chat = await talked(person, hands, "a", "b")
    await person.say(f"{chat}/1/edit", "x")
    await replied(hands, "X")
    page = await person.page(chat)
    assert "Show 2 replaced messages" in page
    everything = await person.page(f"{chat}?all=true")
    assert turns_in(everything) == [1, 2, 3]
    assert everything.count("left-out") == 2
    exported = (await person.client.get(f"{chat}/export.json")).json()
    assert [(turn["number"], turn["replaces"]) for turn in exported["items"]] == [(1, None), (2, None), (3, 1)]
    text = (await person.client.get(f"{chat}/export.md")).text
    assert "B" not in text
    assert "X" in text


async def test_an_answer_is_asked_for_again(person: Person, hands: Hands, database: Database) -> None:
    chat = await talked(person, hands, "a", "b")
    answer = await person.client.post(f"{chat}/2/again", headers=HTMX)
    assert turns_in(answer.text) == [1, 3]
    assert await messages_of_next(hands, database, "B2") == ["a", "A", "b"]
    await person.say(chat, "c")
    assert await messages_of_next(hands, database, "C") == ["a", "A", "b", "B2", "c"]


async def test_the_first_message_can_be_edited(person: Person, hands: Hands, database: Database) -> None:
    chat = await talked(person, hands, "a")
    await person.say(f"{chat}/1/edit", "x")
    assert await messages_of_next(hands, database, "X") == ["x"]


async def test_what_was_replaced_does_not_come_back_when_its_successor_fails(
    person: Person, hands: Hands, database: Database
) -> None:
    chat = await talked(person, hands, "a", "b")
    await person.say(f"{chat}/2/edit", "x")
    await hands.fail(await hands.take(), Failure("timeout", "slow", "answer"))
    await person.say(chat, "y")
    assert await messages_of_next(hands, database, "Y") == ["a", "A", "y"]
    await person.say(f"{chat}/1/edit", "z")
    await hands.fail(await hands.take(), Failure("timeout", "slow", "answer"))
    await person.say(chat, "w")
    assert await messages_of_next(hands, database, "W") == ["w"]


async def test_what_the_page_says_of_a_conversation_changes_with_an_edited_message(
    person: Person, hands: Hands
) -> None:
    chat = await talked(person, hands, "a", "b")
    update = (await person.say(f"{chat}/1/edit", "x")).text
    assert "Show 2 replaced messages" in update
    assert re.search(r'<h1 [^>]*hx-swap-oob="outerHTML">x</h1>', update)
    assert re.search(r'<li id="chat-[^>]*hx-swap-oob="outerHTML">.*<span class="chat-title">x</span>', update)
    assert "replaced messages" not in (await person.say(chat, "y")).text


async def test_a_conversation_is_called_as_it_begins_after_an_edit(person: Person, hands: Hands) -> None:
    chat = await talked(person, hands, "a", "b")
    await person.say(f"{chat}/2/edit", "c")
    await replied(hands, "C")
    assert '<h1 class="wrap" id="title-of-talk">a</h1>' in await person.page(chat)
    await person.say(f"{chat}/1/edit", "x")
    await replied(hands, "X")
    await person.say(f"{chat}/4/edit", "z")
    assert '<h1 class="wrap" id="title-of-talk">z</h1>' in await person.page(chat)


async def test_without_scripts_the_page_is_loaded_again(person: Person, hands: Hands) -> None:
    chat = await talked(person, hands, "a")
    for path in (chat, f"{chat}/1/edit", f"{chat}/1/again"):
        answer = await person.client.post(path, data={"text": "b"})
        assert (answer.status_code, answer.headers["location"]) == (303, chat), path
        await replied(hands, "B")


async def test_a_turn_that_is_not_there_is_not_replaced(person: Person, hands: Hands) -> None:
    chat = await talked(person, hands, "a")
    for verb in ("edit", "again", "stop"):
        assert (await person.client.post(f"{chat}/7/{verb}", data={"text": "b"})).status_code == 404
