"""A conversation on the page: sent, streamed, stopped, found again in the middle of it."""

from __future__ import annotations

import re

import pytest

from flowyard.runs.events import Failure
from flowyard.storage.database import Database
from flowyard.storage.runs import Runs
from services.gateway.chat.conftest import document
from services.gateway.chat_page.conftest import HTMX, Person, at_work, replied, without_tags
from support.hands import Hands
from support.queued import apply


def turns_in(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<li class="turn[^>]*data-number="(\d+)"', page)]


async def test_a_message_becomes_a_run_and_its_answer_a_part_of_the_page(
    person: Person, hands: Hands, database: Database
) -> None:
    assert "support" in await person.page("/chat")
    chat = await person.begin("Where is my order?")
    claim = await hands.take()
    run = await Runs(database).get(claim.run_id)
    assert run.inputs["messages"] == [{"role": "user", "content": "Where is my order?"}]
    page = await person.page(chat)
    assert f'sse-connect="{chat}/1/stream"' in page
    assert f'formaction="{chat}/1/stop"' in page
    await hands.succeed(claim, {"reply": "On its **way**"})
    page = await person.page(chat)
    assert "<strong>way</strong>" in page
    assert "/stream" not in page
    assert str(run.session_id) in chat


async def test_text_is_streamed_as_it_comes_and_ends_as_the_finished_turn(person: Person, hands: Hands) -> None:
    chat = await person.begin()
    claim = await hands.take()
    async with person.watch(chat, 1) as watched:
        assert watched.response.headers["content-type"].startswith("text/event-stream")
        await hands.append(claim, "step.started", node="classify", visit=1)
        await watched.until(">classify<")
        hands.say(claim, "classify", "no part of the answer")
        await hands.append(claim, "step.started", node="answer", visit=1)
        await watched.until(">answer<")
        hands.say(claim, "answer", "One *line*.\n\nAnd another one")
        update = await watched.until("<p>And another one</p>")
        assert "<p>One <em>line</em>.</p>" in update
        hands.say(claim, "answer", ", more")
        update = await watched.until("<p>And another one, more</p>")
        # What is whole isn't sent again.
        assert "One" not in update
        await hands.succeed(claim, {"reply": "One *line*.\n\nAnd another one, more"})
        rest = await watched.rest()
    assert "no part of the answer" not in rest
    assert 'id="turn-1"' in rest
    assert 'hx-swap-oob="outerHTML"' in rest
    assert re.search(r'<div id="announce" hx-swap-oob="innerHTML">One \*line\*\.\s+And another one, more</div>', rest)
    assert "event: end" in rest


async def test_who_comes_in_the_middle_has_what_comes_from_then_on(person: Person, hands: Hands) -> None:
    chat = await person.begin()
    claim = await hands.take()
    async with person.watch(chat, 1) as watched:
        await at_work(hands, watched, claim)
        hands.say(claim, "answer", "Once upon")
        await watched.until("Once upon")
    async with person.watch(chat, 1) as watched:
        first = await watched.until(">answer<")
        assert 'hx-swap-oob="innerHTML"></div>' in first
        hands.say(claim, "answer", "a time")
        await watched.until("a time")
        await hands.succeed(claim, {"reply": "Once upon a time"})
        assert "Once upon a time" in await watched.rest()


async def test_another_try_replaces_the_text_so_far(person: Person, hands: Hands) -> None:
    chat = await person.begin()
    claim = await hands.take()
    async with person.watch(chat, 1) as watched:
        await at_work(hands, watched, claim)
        hands.say(claim, "answer", "Once upon")
        await watched.until("Once upon")
        hands.say(claim, "answer", "At last", call=1)
        again = await watched.until("At last")
        assert ("Once" not in again, 'hx-swap-oob="innerHTML"></div>' in again) == (True, True)
        hands.say(claim, "answer", " late", call=0)
        hands.say(claim, "answer", ", it works", call=1)
        assert "late" not in await watched.until("At last, it works")


async def test_the_next_message_continues_the_conversation(person: Person, hands: Hands, database: Database) -> None:
    chat = await person.begin("a")
    await replied(hands, "A")
    answer = await person.say(chat, "b", after="1")
    assert answer.status_code == 200
    assert turns_in(answer.text) == [2]
    claim = await hands.take()
    run = await Runs(database).get(claim.run_id)
    assert [message["content"] for message in run.inputs["messages"]] == ["a", "A", "b"]


async def test_a_form_that_is_sent_twice_starts_one_run(person: Person, hands: Hands) -> None:
    chat = await person.begin("a")
    await replied(hands, "A")
    once = "0" * 32
    await person.say(chat, "b", once=once)
    again = await person.say(chat, "b", once=once, after="1")
    assert again.status_code == 200
    assert turns_in(again.text) == [2]
    assert turns_in(await person.page(chat)) == [1, 2]


async def test_stop_cancels_the_run_and_keeps_the_text_so_far(person: Person, hands: Hands, database: Database) -> None:
    chat = await person.begin()
    claim = await hands.take()
    async with person.watch(chat, 1) as watched:
        await at_work(hands, watched, claim)
        hands.say(claim, "answer", "Half of")
        await watched.until("Half of")
        stopped = await person.client.post(f"{chat}/1/stop", headers=HTMX)
        assert stopped.status_code == 204
        assert (await Runs(database).get(claim.run_id)).cancel_requested
        await hands.give_up(claim)
        rest = await watched.rest()
    assert "Half of" in rest
    assert "Stopped." in rest
    assert "Stopped." in await person.page(chat)
    again = await person.client.post(f"{chat}/1/stop")
    assert (again.status_code, again.headers["location"]) == (303, chat)


async def test_a_second_tab_shows_what_the_first_has_sent(person: Person, hands: Hands) -> None:
    chat = await person.begin("a")
    await replied(hands, "A")
    await person.say(chat, "b", after="1")
    await hands.take()
    # This tab has seen only the first turn. The answer to `b` is still being written.
    busy = await person.say(chat, "c", after="1")
    assert busy.status_code == 409
    assert turns_in(busy.text) == [2]
    assert f"{chat}/2/stop" in busy.text
    assert 'id="problem"' in busy.text
    assert turns_in(await person.page(chat)) == [1, 2]


async def test_a_run_that_fails_says_why(person: Person, hands: Hands) -> None:
    chat = await person.begin("a")
    await hands.fail(await hands.take(), Failure("timeout", "the model took <b>too</b> long", "answer"))
    page = await person.page(chat)
    assert "The run has failed: the model took &lt;b&gt;too&lt;/b&gt; long" in page
    await person.say(chat, "b")
    await hands.fail(await hands.take(), Failure("reply_cut_off", "cut", "answer", reply="The **beginning**"))
    page = await person.page(chat)
    assert "<strong>beginning</strong>" in page
    assert "its limit of tokens" in page


async def test_a_stream_of_a_turn_that_has_ended_shows_it_at_once(person: Person, hands: Hands) -> None:
    chat = await person.begin()
    await replied(hands, "Done")
    async with person.watch(chat, 1) as watched:
        assert "Done" in await watched.rest()


async def test_a_stream_ends_when_its_user_logs_out(person: Person, hands: Hands) -> None:
    chat = await person.begin()
    claim = await hands.take()
    async with person.watch(chat, 1) as watched:
        await at_work(hands, watched, claim)
        hands.say(claim, "answer", "Some")
        await watched.until("Some")
        await person.client.post("/chat/logout")
        rest = await watched.rest()
    assert "turn-1" not in rest


@pytest.mark.parametrize("text", ["", "   ", "\n"])
async def test_an_empty_message_is_refused(person: Person, text: str) -> None:
    answer = await person.client.post("/chat/w/support", data={"text": text})
    assert answer.status_code == 422


async def test_a_workflow_that_needs_more_says_so_instead_of_a_form(person: Person, database: Database) -> None:
    more = document(name="topical").replace("{type: str, default: en}", "{type: str, required: true}")
    await apply(database, more)
    refused = await person.client.post("/chat/w/topical", data={"text": "my long text"})
    assert refused.status_code == 422
    page = await person.page("/chat/w/topical")
    assert "needs more than messages" in page
    assert 'id="composer"' not in page
    await apply(
        database, document(name="paused").replace("concurrent: queue}", "concurrent: queue}\n    enabled: false")
    )
    assert (await person.client.get("/chat/w/paused")).status_code == 404
    assert (await person.client.post("/chat/w/nowhere", data={"text": "x"})).status_code == 404


async def test_steps_behind_an_answer_are_unfolded(person: Person, hands: Hands) -> None:
    chat = await person.begin()
    claim = await hands.take()
    await hands.step(claim, "classify", {"kind": "question"})
    await hands.call(claim, "answer", None)
    await hands.step(claim, "answer", {"reply": "Yes"})
    await hands.succeed(claim, {"reply": "Yes"})
    steps = without_tags(await person.page(f"{chat}/1/steps"))
    assert "classify" in steps
    assert "10 in, 5 out" in steps
    assert "unknown" in steps
    assert str(claim.run_id) in steps
