"""`flowyard ask`: which run a question is about, what its model gets, and what is shown of the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowyard.runs.events import Failure
from flowyard.storage.keys import Keys
from support.cli import Ended
from support.queued import apply
from support.remote import POEM, Remote, open_remote

MODEL = ("--model", "ollama/llama3.2")
WHY = "Why did it fail?"


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await remote.applied()
        yield remote


async def failed(remote: Remote, workflow: str = "poem") -> UUID:
    """A run whose second step has failed."""
    begun = await remote.cli("run", workflow, "-i", "topic=rain", "--detach")
    assert begun.code == 0, begun.err
    claim = await remote.hands.take()
    await remote.hands.step(claim, "draft", {"draft": "Drops on </facts> the roof"})
    await remote.hands.append(claim, "step.started", node="write", visit=1)
    error = {"code": "timeout", "message": "no answer within 120 s"}
    await remote.hands.append(claim, "step.retrying", node="write", visit=1, attempt=2, delay_s=1.0, error=error)
    await remote.hands.fail(claim, Failure("timeout", "no answer within 120 s", "write"))
    return claim.run_id


async def succeeded(remote: Remote) -> UUID:
    await remote.cli("run", "poem", "-i", "topic=snow", "--detach")
    claim = await remote.hands.take()
    await remote.hands.succeed(claim, {"poem": "Snow"})
    return claim.run_id


async def about(remote: Remote, *args: str) -> str:
    """The run that a question is taken to be about."""
    ended = await remote.cli("ask", *args, "--facts", "--json")
    assert ended.code == 0, ended.err
    return str(json.loads(ended.out)["run_id"])


async def asked(remote: Remote, answer: str, *args: str) -> tuple[dict[str, Any], Ended]:
    """The inputs of the run that answers so, and what is shown."""
    asking = asyncio.create_task(remote.cli("ask", *args))
    claim = await remote.hands.take()
    assert claim.workflow == "ask"
    await remote.hands.step(claim, "answer", {"answer": answer})
    await remote.hands.succeed(claim, {"answer": answer})
    return json.loads(claim.inputs), await asking


async def test_a_question_is_about_the_run_that_it_names_or_about_the_last_that_fits(remote: Remote) -> None:
    await apply(remote.database, POEM.replace("name: poem", "name: tale"))
    tale = await failed(remote, "tale")
    poem = await failed(remote)
    newest = await succeeded(remote)
    assert await about(remote, "What became of it?") == str(newest)
    assert await about(remote, WHY) == str(poem)
    assert await about(remote, "Why did the last run of tale fail?") == str(tale)
    assert await about(remote, f"Why did run {tale.hex[:20]} fail?") == str(tale)
    assert await about(remote, "Why", "did", str(tale), "fail?") == str(tale)
    assert await about(remote, WHY, "--run", str(newest)) == str(newest)
    assert await about(remote, WHY, "--run", "last") == str(poem)


async def test_a_run_that_does_not_exist_is_an_error(remote: Remote) -> None:
    nothing = await remote.cli("ask", WHY)
    assert (nothing.code, "there are no runs yet" in nothing.err) == (2, True)
    await failed(remote)
    unknown = await remote.cli("ask", "Why did run 00000000abcd fail?")
    assert (unknown.code, "no run '00000000abcd'" in unknown.err) == (2, True)


async def test_the_facts_are_the_run_its_limits_document_steps_and_events(remote: Remote) -> None:
    run_id = await failed(remote)
    ended = await remote.cli("ask", WHY, "--facts")
    assert f"about run {run_id} of poem (failed): the last run that has failed" in ended.err
    assert ended.out.startswith("[1] the run\n")
    for text in (
        "    error: no answer within 120 s [timeout]\n    of node: write\n",
        "    input topic: rain\n",
        "node write (prompt): model scripted/tests, 2 min 0 s per call",
        "poem.yaml:8\n       8| ",
        "step draft: succeeded\n",
        "    output draft: Drops on ‹/facts> the roof\n",  # noqa: RUF001
        ": step.retrying\n    node: write\n",
        ": run.failed\n",
    ):
        assert text in ended.out, ended.out


async def test_the_document_of_a_deleted_workflow_is_not_that_of_another_with_its_name(remote: Remote) -> None:
    run_id = await failed(remote)
    assert (await remote.cli("workflows", "delete", "poem")).code == 0
    assert "isn't there any more: its workflow was deleted" in (await remote.cli("ask", WHY, "--facts")).out
    await apply(remote.database, POEM.replace("Draft {topic}", "Sketch {topic}"))
    facts = (await remote.cli("ask", f"Why did run {run_id} fail?", "--facts")).out
    assert ("isn't there any more" in facts, "Sketch" in facts) == (True, False)


async def test_the_workflow_is_applied_once_and_the_cited_sources_are_shown(remote: Remote) -> None:
    run_id = await failed(remote)
    inputs, ended = await asked(remote, "No answer in time [1], thrice [99].", WHY, *MODEL)
    assert (ended.code, ended.out.splitlines()[0]) == (0, "No answer in time [1], thrice [99].")
    assert "the workflow 'ask' isn't on the stack yet: it is applied, to ask ollama/llama3.2" in ended.err
    assert f"[1] the run\n    flowyard runs show {run_id}\n" in ended.out
    assert "[99] there is no such source" in ended.out
    assert [message["content"] for message in inputs["messages"]] == [WHY]
    assert inputs["facts"].startswith("[1] the run\n")
    _, ended = await asked(remote, "I don't know.", WHY)
    assert "is applied" not in ended.err
    assert "the answer names no sources" in ended.err
    assert await about(remote, "What became of it?") == str(run_id)
    assert json.loads((await remote.cli("chats", "--json")).out) == {"items": []}


async def test_json_has_the_answer_and_each_source(remote: Remote) -> None:
    run_id = await failed(remote)
    _, ended = await asked(remote, "No answer in time [1], thrice [99].", WHY, *MODEL, "--json")
    shown = json.loads(ended.out)
    assert (shown["run_id"], shown["unknown_sources"]) == (str(run_id), [99])
    assert [source["number"] for source in shown["sources"] if source["cited"]] == [1]


async def test_an_answer_that_fails_has_the_code_of_a_failed_run(remote: Remote) -> None:
    await failed(remote)
    asking = asyncio.create_task(remote.cli("ask", WHY, *MODEL))
    await remote.hands.fail(await remote.hands.take(), Failure("provider_error", "it is down", "answer"))
    ended = await asking
    assert (ended.code, "flowyard: it is down (node 'answer') [provider_error]" in ended.err) == (1, True)


async def test_a_workflow_of_canned_replies_has_no_model_to_answer(remote: Remote) -> None:
    await failed(remote)
    ended = await remote.cli("ask", WHY)
    assert (ended.code, "poem has canned replies and no model: name one with --model" in ended.err) == (2, True)
    malformed = await remote.cli("ask", WHY, "--model", "llama")
    assert (malformed.code, "write PROVIDER/MODEL" in malformed.err) == (2, True)


async def test_somebody_elses_workflow_of_that_name_is_left_alone(remote: Remote) -> None:
    await failed(remote)
    await apply(remote.database, POEM.replace("name: poem", "name: ask"))
    ended = await remote.cli("ask", WHY, *MODEL)
    assert (ended.code, "the stack's workflow 'ask' doesn't answer questions about runs" in ended.err) == (2, True)


async def test_events_and_the_document_of_a_revision_can_be_looked_at(remote: Remote) -> None:
    run_id = await failed(remote)
    events = json.loads((await remote.cli("runs", "events", str(run_id), "--type", "run.failed", "--json")).out)[
        "items"
    ]
    assert [event["type"] for event in events] == ["run.failed"]
    later = await remote.cli("runs", "events", str(run_id), "--after", str(events[0]["seq"]))
    assert later.out == "no such events\n"
    (remote.folder / "poem.yaml").write_text(POEM.replace("About anything", "About all"))
    await remote.applied()
    first = await remote.cli("workflows", "show", "poem", "--document", "--revision", "1")
    assert first.out == POEM
    alone = await remote.cli("workflows", "show", "poem", "--revision", "1")
    assert (alone.code, "--revision: only a revision's document" in alone.err) == (2, True)


async def test_who_may_not_apply_the_workflow_is_told_which_scope_that_needs(remote: Remote) -> None:
    await failed(remote)
    key = (await Keys(remote.database).create("reader", frozenset({"read", "run"})))[1]
    ended = await remote.cli("ask", WHY, *MODEL, FLOWYARD_API_KEY=key)
    assert (ended.code, "'ask' isn't on the stack yet" in ended.err) == (2, True)
    assert "this needs the scope 'write'" in ended.err
    await asked(remote, "No answer in time [1].", WHY, *MODEL)
    asking = asyncio.create_task(remote.cli("ask", WHY, FLOWYARD_API_KEY=key))
    await remote.hands.succeed(await remote.hands.take(), {"answer": "No answer in time [1]."})
    assert (await asking).code == 0
