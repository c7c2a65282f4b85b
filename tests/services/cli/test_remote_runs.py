"""`flowyard runs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flowyard.runs.call_texts import CallTexts
from flowyard.runs.claim import Claim
from flowyard.runs.events import Failure
from support.remote import Remote, open_remote


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await remote.applied()
        yield remote


async def submitted(remote: Remote) -> str:
    return (await remote.cli("run", "poem", "-i", "topic=rain", "--detach")).out.strip()


async def failed(remote: Remote) -> str:
    """A run whose first step succeeded, and whose second one did not."""
    run_id = await submitted(remote)
    claim = await remote.hands.take()
    await remote.hands.step(claim, "draft", {"draft": "Drops"})
    await remote.hands.append(claim, "step.started", node="write", visit=1)
    await remote.hands.fail(claim, Failure("provider_error", "it is down", "write"))
    return run_id


async def shown(remote: Remote, run_id: str) -> dict[str, Any]:
    details: dict[str, Any] = json.loads((await remote.cli("runs", "show", run_id, "--json")).out)
    return details


async def test_runs_are_listed_newest_first_by_workflow_and_status(remote: Remote) -> None:
    first = await failed(remote)
    second = await submitted(remote)
    rows = (await remote.cli("runs")).out.splitlines()
    assert [row.split()[:3] for row in rows[1:]] == [[second, "poem", "queued"], [first, "poem", "failed"]]
    details = json.loads((await remote.cli("runs", "list", "--status", "failed", "--workflow", "poem", "--json")).out)
    assert [run["id"] for run in details["items"]] == [first]
    assert len((await remote.cli("runs", "list", "--limit", "1")).out.splitlines()) == 2
    assert (await remote.cli("runs", "list", "--workflow", "other")).out == "no such runs\n"


async def test_a_run_is_shown_with_its_error_its_inputs_and_its_steps(remote: Remote) -> None:
    run_id = await failed(remote)
    out = (await remote.cli("runs", "show", run_id)).out
    assert "it is down [provider_error]" in out
    assert "inputs: topic\nrain" in out
    assert "draft  succeeded" in out
    assert [step["node"] for step in (await shown(remote, run_id))["steps"]] == ["draft"]


async def test_a_run_is_shown_with_its_calls_and_what_was_said(remote: Remote) -> None:
    run_id = await submitted(remote)
    claim = await remote.hands.take()
    await remote.hands.call(claim, "draft", None)
    assert "Prompts and replies aren't kept" in (await remote.cli("runs", "show", run_id, "--calls")).out
    said = CallTexts(({"role": "system", "content": "be brief"}, {"role": "user", "content": "rain?"}), "Drops", "hm")
    await remote.hands.call(claim, "draft", said)
    out = (await remote.cli("runs", "show", run_id, "--calls")).out
    assert "call 2: draft, openai/small, 0.5 s, 10 tokens in, 5 out, unknown\n" in out
    assert out.endswith("\nsystem:\nbe brief\n\nuser:\nrain?\n\nreasoning:\nhm\n\nreply:\nDrops\n")
    details = json.loads((await remote.cli("runs", "show", run_id, "--calls", "--json")).out)
    assert [call["texts"] for call in details["calls"]] == [None, said.data]
    assert [call["texts"] for call in (await shown(remote, run_id))["calls"]] == [None, None]


async def test_the_beginning_of_an_id_is_enough_while_only_one_run_has_it(remote: Remote) -> None:
    run_id = await submitted(remote)
    assert (await shown(remote, run_id[:6]))["id"] == run_id
    await submitted(remote)
    ambiguous = await remote.cli("runs", "show", run_id[:6])
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert f"several run ids begin with '{run_id[:6]}'" in ambiguous.err
    unknown = await remote.cli("runs", "show", "ffffff")
    assert (unknown.code, unknown.err) == (2, "flowyard: no run 'ffffff'\n")
    assert "a UUID" in (await remote.cli("runs", "show", "poem")).err


async def test_a_run_that_has_ended_is_followed_to_its_result_at_once(remote: Remote) -> None:
    ended = await remote.cli("runs", "follow", await failed(remote))
    assert ended.code == 1
    assert "draft: done in" in ended.err
    assert "failed in 0.1 s, 2 steps: node 'write': it is down [provider_error]" in ended.err


async def test_several_runs_are_cancelled_and_those_that_can_not_be_are_named(remote: Remote) -> None:
    over, waiting = await failed(remote), await submitted(remote)
    ended = await remote.cli("runs", "cancel", over, waiting)
    assert ended.code == 2
    assert ended.out == f"run {waiting} is cancelled\n"
    assert "[illegal_move]" in ended.err


async def test_a_run_at_work_is_being_cancelled(remote: Remote) -> None:
    run_id = await submitted(remote)
    await remote.hands.take()
    ended = await remote.cli("runs", "cancel", run_id)
    assert (ended.code, ended.out) == (0, f"run {run_id} is being cancelled\n")


async def test_all_open_runs_of_a_workflow_are_cancelled(remote: Remote) -> None:
    await failed(remote)
    mine = {await submitted(remote) for _ in range(2)}
    ended = await remote.cli("runs", "cancel", "--workflow", "poem", "--all", "--json")
    assert set(json.loads(ended.out)["cancelled"]) == mine
    assert (await remote.cli("runs", "cancel", "--all")).code == 2
    assert (await remote.cli("runs", "cancel")).code == 2


async def test_a_retried_run_is_followed_from_there_and_summed_up_as_a_whole(remote: Remote) -> None:
    run_id = await failed(remote)
    running = asyncio.create_task(remote.cli("runs", "retry", run_id, "--follow"))
    claim = await remote.hands.take()
    await remote.hands.step(claim, "write", {"poem": "Rain"})
    await remote.hands.succeed(claim, {"draft": "Drops", "poem": "Rain"})
    ended = await running
    assert ended.code == 0, ended.err
    assert "draft: done" not in ended.err
    assert "queued again: it is retried" in ended.err
    assert "write: done in" in ended.err
    assert "draft " in ended.out


async def test_a_fork_goes_on_before_a_step_with_other_fields(remote: Remote) -> None:
    run_id = await failed(remote)
    ended = await remote.cli("runs", "fork", run_id, "--from", "write#1", "--set", "draft=Snow", "--set", "lines=5")
    assert ended.code == 0, ended.err
    claim: Claim = await remote.hands.take()
    assert ended.out == f"{claim.run_id}\n"
    assert claim.fork is not None
    assert (claim.fork.node, dict(claim.fork.state)) == ("write", {"draft": "Snow", "lines": 5})


async def test_a_fork_that_is_followed_shows_where_it_comes_from(remote: Remote) -> None:
    run_id = await failed(remote)
    running = asyncio.create_task(remote.cli("runs", "fork", run_id, "--from", "write", "--follow"))
    await remote.hands.succeed(await remote.hands.take(), {"poem": "Rain"})
    ended = await running
    assert f"poem: forked from {run_id}: keeps 1 step, executes write first\n" in ended.err


async def test_a_fork_without_a_step_begins_at_the_start_with_other_inputs(remote: Remote) -> None:
    run_id = await failed(remote)
    await remote.cli("runs", "fork", run_id, "--set", "topic=snow")
    assert json.loads((await remote.hands.take()).inputs) == {"topic": "snow"}


WRONG_FORKS = [
    (["--from", "wirte"], "no step 'wirte' (did you mean 'write'?) [unknown_step]"),
    (["--from", "write#two"], "write NODE, or NODE#VISIT"),
    (["--set", "topic"], "write FIELD=VALUE"),
    (["--from", "write", "--set", "lines=many"], "lines: expected int, got str 'many'"),
]


async def test_what_is_wrong_with_a_fork_is_reported(remote: Remote) -> None:
    run_id = await failed(remote)
    for args, said in WRONG_FORKS:
        ended = await remote.cli("runs", "fork", run_id, *args)
        assert ended.code == 2
        assert said in ended.err
