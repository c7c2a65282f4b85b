from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowyard.access import Actor
from flowyard.errors.requests import UnknownSession
from flowyard.runs.run import NewRun
from flowyard.storage.chat_sessions import ChatSessions, NewTurn, OpenSession, Owner
from flowyard.storage.database import Database
from flowyard.storage.retention import Retention
from flowyard.storage.runs import Runs
from flowyard.storage.workflows import Revision
from support.queued import apply, new_id, new_run

DOCUMENT = """
flow: {name: talk}
state: {fields: {messages: {type: any, required: true}, reply: any}}
nodes:
  - {id: answer, prompt: "{messages}", outputs: [reply]}
"""
OWNER = Owner("talk", "alice")
BOB = Owner("talk", "bob")
MOST = 1_000_000
DAY_S = 86_400


@dataclass(frozen=True)
class Talk:
    """A workflow, and the sessions of two keys with it."""

    database: Database
    revision: Revision

    @property
    def sessions(self) -> ChatSessions:
        return ChatSessions(self.database)

    async def open(self, name: str = "t", owner: Owner = OWNER) -> OpenSession:
        return await self.sessions.open(owner, name, new_id=new_id())

    def run(self, *messages: str, **about: Any) -> NewRun:
        return new_run(self.revision, inputs={"messages": [said(text) for text in messages]}, **about)

    async def say(self, *messages: str, new: int = 1, session: OpenSession | None = None, **about: Any) -> UUID | None:
        """The id of the run; None: it wasn't added."""
        run = self.run(*messages, **about)
        turn = NewTurn(session or await self.open(), new, "messages", "reply")
        return run.id if await self.sessions.add_turn(turn, run, by=None) else None

    async def end(self, run_id: UUID | None, *, reply: Any = "ok", status: str = "succeeded") -> None:
        await self.database.execute(
            "UPDATE runs SET status = $2, finished_at = now(), outputs = $3 WHERE id = $1",
            run_id,
            status,
            {"reply": reply},
        )


def said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.fixture
async def talk(database: Database) -> Talk:
    return Talk(database, await apply(database, DOCUMENT))


async def test_a_session_is_the_same_for_the_same_key_workflow_and_name_and_for_nobody_else(talk: Talk) -> None:
    first = await talk.open()
    assert (first.turns, first.busy_with) == (0, None)
    assert await talk.open() == first
    others = [await talk.open("u"), await talk.open(owner=BOB), await talk.open(owner=Owner("other", "alice"))]
    assert len({first.id, *(each.id for each in others)}) == 4


async def test_a_session_is_found_by_its_id_too_but_only_by_its_own_key(talk: Talk) -> None:
    first = await talk.open()
    assert await talk.open(str(first.id)) == first
    assert (await talk.open(str(first.id), BOB)).id != first.id


async def test_a_turn_is_stored_with_its_run_and_the_session_waits_for_it(talk: Talk) -> None:
    run_id = await talk.say("a")
    assert run_id is not None
    session = await talk.open()
    assert (session.turns, session.busy_with) == (1, run_id)
    run = await Runs(talk.database).get(run_id)
    assert (run.session_id, run.status, run.last_seq) == (session.id, "queued", 1)
    await talk.end(run_id)
    assert (await talk.open()).busy_with is None


async def test_answers_of_responses_are_read_by_their_runs_as_many_as_are_not_too_large(talk: Talk) -> None:
    runs: list[UUID] = []
    for text in "ab":
        run = talk.run(text)
        assert await talk.sessions.add_turn(NewTurn(await talk.open(), 1, "messages", "reply", about={}), run, by=None)
        await talk.end(run.id, reply=text)
        runs.append(run.id)
    no_response = await talk.say("c")
    await talk.end(no_response)
    wanted = [*runs, no_response or new_id()]
    assert await talk.sessions.answers(OWNER, wanted, most_bytes=MOST) == {runs[0]: "a", runs[1]: "b"}
    assert await talk.sessions.answers(OWNER, wanted, most_bytes=len('"a"')) == {runs[0]: "a"}
    for owner in (BOB, Owner("other", OWNER.key_id)):
        assert await talk.sessions.answers(owner, wanted, most_bytes=MOST) == {}


async def test_of_two_messages_at_once_one_is_the_next_turn(talk: Talk) -> None:
    session = await talk.open()
    added = await asyncio.gather(*(talk.say(f"m{i}", session=session) for i in range(8)))
    assert len([run_id for run_id in added if run_id is not None]) == 1
    assert await talk.database.value("SELECT count(*) FROM runs") == 1
    assert await talk.database.value("SELECT count(*) FROM chat_turns") == 1


async def test_a_run_of_an_old_revision_or_with_a_used_key_is_no_turn(talk: Talk) -> None:
    await talk.end(await talk.say("a", key="k", fingerprint=b"1"))
    assert await talk.say("b", key="k", fingerprint=b"1") is None
    await apply(talk.database, DOCUMENT.replace("{messages}", "x {messages}"))
    assert await talk.say("b") is None
    assert (await talk.open()).turns == 1
    assert await talk.database.value("SELECT count(*) FROM runs") == 1


async def test_a_deleted_session_gets_no_turn_any_more(talk: Talk) -> None:
    session = await talk.open()
    await talk.sessions.delete("alice", session.id)
    assert await talk.say("a", session=session) is None
    assert await talk.database.value("SELECT count(*) FROM runs") == 0


async def test_the_last_turn_is_the_last_one_that_succeeded(talk: Talk) -> None:
    assert await talk.sessions.last_turn(await talk.open(), most_bytes=MOST) is None
    await talk.end(await talk.say("a"), reply="one")
    await talk.end(await talk.say("a", "b"), reply={"role": "assistant", "content": "two"})
    await talk.end(await talk.say("a", "b", "c"), status="failed")
    last = await talk.sessions.last_turn(await talk.open(), most_bytes=MOST)
    assert last is not None
    assert last.messages == [said("a"), said("b")]
    assert last.answer == {"role": "assistant", "content": "two"}


async def test_what_is_too_large_to_become_an_input_again_is_not_read(talk: Talk) -> None:
    await talk.end(await talk.say("a" * 500), reply="b" * 50)
    last = await talk.sessions.last_turn(await talk.open(), most_bytes=100)
    assert last is not None
    assert (last.messages, last.answer) == (None, "b" * 50)


async def test_a_key_lists_reads_and_deletes_its_own_sessions_and_no_others(talk: Talk) -> None:
    await talk.end(await talk.say("a"), reply="one")
    session = await talk.open()
    # Without a turn: it isn't listed.
    await talk.open("empty")
    assert [each.id for each in await talk.sessions.page("alice", limit=10)] == [session.id]
    assert await talk.sessions.page("bob", limit=10) == []
    assert await talk.sessions.page("alice", workflows=["other"], limit=10) == []
    assert await talk.sessions.turns("bob", session.id, limit=10, most_bytes=MOST) == []
    for act in (talk.sessions.get, talk.sessions.delete):
        with pytest.raises(UnknownSession):
            await act("bob", session.id)
        with pytest.raises(UnknownSession):
            await act("alice", uuid4())
    assert (await talk.sessions.get("alice", session.id)).turns == 1
    await talk.sessions.delete("alice", session.id)
    assert await talk.sessions.page("alice", limit=10) == []
    assert await talk.database.value("SELECT count(*) FROM chat_turns") == 0
    assert await talk.database.value("SELECT count(*) FROM runs") == 1


async def test_a_turn_shows_what_was_new_in_it_and_its_answer(talk: Talk) -> None:
    await talk.end(await talk.say("a"), reply="one")
    await talk.say("a", "b", "c", new=2)
    session = await talk.open()
    turns = await talk.sessions.turns("alice", session.id, limit=10, most_bytes=MOST)
    assert [(turn.number, turn.status, turn.messages, turn.answer) for turn in turns] == [
        (1, "succeeded", [said("a")], "one"),
        (2, "queued", [said("b"), said("c")], None),
    ]
    assert [
        turn.number for turn in await talk.sessions.turns("alice", session.id, after=1, limit=9, most_bytes=MOST)
    ] == [2]
    assert [turn.number for turn in await talk.sessions.turns("alice", session.id, limit=9, most_bytes=1)] == [1]


async def test_pages_of_sessions_go_from_the_newest_to_the_oldest(talk: Talk) -> None:
    opened = [await talk.open(name) for name in "abc"]
    for session in opened:
        await talk.say("x", session=session)
    first = await talk.sessions.page("alice", limit=2)
    rest = await talk.sessions.page("alice", before=first[-1].id, limit=2)
    # Ids that are made in the same millisecond have no order but their own.
    assert [each.id for each in (*first, *rest)] == sorted((session.id for session in opened), reverse=True)


async def test_a_session_costs_what_its_runs_have_cost(talk: Talk) -> None:
    run_id = await talk.say("a")
    await talk.database.execute(
        "INSERT INTO step_parts (run_id, seq, visit, item, part, duration_s, at, node, provider, model, tokens_in,"
        " tokens_out, cost_usd) VALUES ($1, 3, 1, -1, 1, 1, $2, 'answer', 'openai', 'm', 7, 5, 0.25)",
        run_id,
        datetime.now(UTC),
    )
    [session] = await talk.sessions.page("alice", limit=2)
    assert (session.spending.calls, session.spending.tokens_in, str(session.spending.cost_usd)) == (1, 7, "0.25")


async def test_a_turn_is_deleted_with_its_run_and_a_session_with_its_last_turn(talk: Talk) -> None:
    retention = Retention(talk.database)
    await talk.end(await talk.say("a"))
    assert await retention.delete_chats(older_than_s=0) == 0
    await retention.delete_runs(older_than_s=0)
    assert await talk.database.value("SELECT count(*) FROM chat_turns") == 0
    assert await retention.delete_chats(older_than_s=DAY_S) == 0
    assert await retention.delete_chats(older_than_s=0) == 1


async def test_who_has_said_something_is_written_down(talk: Talk) -> None:
    run = talk.run("a")
    turn = NewTurn(await talk.open(), 1, "messages", "reply")
    await talk.sessions.add_turn(turn, run, by=Actor("alice", "Alice", "192.0.2.1"))
    [row] = await talk.database.rows("SELECT act, who, workflow, objects FROM audit_entries")
    assert (row["act"], row["who"], row["workflow"], row["objects"]) == (
        "run.submitted", "Alice", "talk", [str(run.id)],
    )  # fmt: skip
