"""`flowyard run NAME`, and what follows a run at the stack."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowyard.runs.events import Failure
from support.remote import Remote, open_remote

RAIN = ("run", "poem", "-i", "topic=rain")


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await remote.applied()
        yield remote


async def test_a_run_by_name_shows_its_progress_and_then_what_a_run_of_a_file_shows(remote: Remote) -> None:
    async with remote.running(*RAIN, "-i", "lines=2") as command:
        claim = await remote.hands.take()
        assert json.loads(claim.inputs) == {"topic": "rain", "lines": 2}
        await remote.hands.step(claim, "draft", {"draft": "Drops"})
        await command.says("draft: done in")
        await remote.hands.step(claim, "write", {"poem": "Rain on the roof"})
        await remote.hands.succeed(claim, {"draft": "Drops", "poem": "Rain on the roof"})
        ended = await command.ended()
    assert ended.code == 0
    assert f"poem: run {claim.run_id}" in ended.err
    assert "Rain on the roof" in ended.out
    assert "succeeded in 0.1 s, 2 steps" in ended.out


async def test_json_is_one_object_of_the_same_shape_as_for_a_file(remote: Remote) -> None:
    running = asyncio.create_task(remote.cli(*RAIN, "--json"))
    claim = await remote.hands.take()
    await remote.hands.step(claim, "draft", {"draft": "Drops"})
    await remote.hands.fail(claim, Failure("provider_error", "it is down", "write"))
    ended = await running
    assert (ended.code, ended.err) == (1, "")
    result = json.loads(ended.out)
    assert (result["run_id"], result["status"], result["revision"]) == (str(claim.run_id), "failed", 1)
    assert result["error"]["code"] == "provider_error"
    assert [node["node"] for node in result["nodes"]] == ["draft"]


async def test_replies_are_streamed_as_they_come(remote: Remote) -> None:
    async with remote.running(*RAIN, "--stream") as command:
        claim = await remote.hands.take()
        await remote.hands.append(claim, "step.started", node="draft", visit=1)
        await command.says("draft: started")
        remote.hands.say(claim, "draft", "Soft ")
        remote.hands.say(claim, "draft", "rain")
        await command.says("draft:\nSoft rain")
        await remote.hands.succeed(claim, {})
        assert (await command.ended()).code == 0


async def test_ctrl_c_leaves_the_run_and_shows_how_to_go_on(remote: Remote) -> None:
    async with remote.running(*RAIN) as command:
        claim = await remote.hands.take()
        await remote.hands.append(claim, "step.started", node="draft", visit=1)
        await command.says("draft: started")
        command.process.send_signal(signal.SIGINT)
        ended = await command.ended()
    assert ended.code == 130
    assert f"run {claim.run_id} goes on" in ended.err
    assert f"flowyard runs follow {claim.run_id}" in ended.err
    shown = json.loads((await remote.cli("runs", "show", str(claim.run_id), "--json")).out)
    assert (shown["status"], shown["cancel_requested"]) == ("running", False)


async def test_a_watcher_survives_a_restart_of_the_gateway_and_misses_nothing(remote: Remote) -> None:
    async with remote.running(*RAIN) as command:
        claim = await remote.hands.take()
        await remote.hands.step(claim, "draft", {"draft": "Drops"})
        await command.says("draft: done in")
        await remote.gateway.end()
        await command.says("trying again")
        await remote.hands.step(claim, "write", {"poem": "Rain"})
        await remote.hands.succeed(claim, {"poem": "Rain"})
        await remote.gateway.begin()
        ended = await command.ended()
    assert ended.code == 0
    assert ended.err.count("draft: done in") == ended.err.count("write: done in") == 1
    assert "2 steps" in ended.out


async def test_a_step_that_lost_its_executor_counts_once(remote: Remote) -> None:
    async with remote.running(*RAIN) as command:
        claim = await remote.hands.take()
        await remote.hands.append(claim, "step.started", node="draft", visit=1)
        await remote.hands.append(claim, "run.queued", reason="executor_lost", attempt=1)
        await remote.hands.append(claim, "run.claimed", attempt=2, executor="executor-2")
        await remote.hands.step(claim, "draft", {"draft": "Drops"})
        await remote.hands.succeed(claim, {"draft": "Drops"})
        ended = await command.ended()
    assert "poem: queued again: its executor was lost\npoem: continued by executor-2" in ended.err
    assert "succeeded in 0.1 s, 1 step\n" in ended.out


async def test_detached_it_prints_the_id_alone_to_standard_output(remote: Remote) -> None:
    ended = await remote.cli(*RAIN, "--detach")
    assert ended.out == f"{(await remote.hands.take()).run_id}\n"
    assert "flowyard runs follow" in ended.err


async def test_a_wait_that_is_over_ends_with_code_1_and_leaves_the_run(remote: Remote) -> None:
    ended = await remote.cli(*RAIN, "--wait", "0.1", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["status"] == "queued"


async def test_a_wait_that_is_long_enough_brings_the_result(remote: Remote) -> None:
    running = asyncio.create_task(remote.cli(*RAIN, "--wait", "5"))
    claim = await remote.hands.take()
    await remote.hands.step(claim, "draft", {"draft": "Drops"})
    await remote.hands.succeed(claim, {"draft": "Drops"})
    ended = await running
    assert ended.code == 0
    assert "Drops" in ended.out


async def test_the_same_idempotency_key_leads_to_the_same_run(remote: Remote) -> None:
    first, second = [await remote.cli(*RAIN, "--detach", "--idempotency-key", "k-1") for _ in range(2)]
    assert first.out == second.out
    other = await remote.cli("run", "poem", "-i", "topic=snow", "--detach", "--idempotency-key", "k-1")
    assert other.code == 2
    assert "[idempotency_mismatch]" in other.err


WRONG = [
    (["poem"], "flowyard: topic: missing (str)\n"),
    (["poem", "-i", "topic=rain", "-i", "lines=many", "-i", "mood=x"], "mood: isn't known"),
    (["poem", "-i", "topic=rain", "-i", "lines=many", "-i", "mood=x"], "lines: expected int"),
    (["poem", "-i", "topic=rain", "--model", "ollama/llama3.2"], "only a FILE can run with another model"),
    (["peom", "-i", "topic=rain"], "no file 'peom' here, and no workflow of this name at http"),
    (["peom", "-i", "topic=rain"], "(did you mean 'poem'?)"),
    (["poem.yaml", "-i", "topic=rain", "--detach"], "--detach: a file runs in this process"),
    (["nowhere.yaml"], "nowhere.yaml: no such file"),
]


async def test_what_is_wrong_is_reported_before_anything_runs(remote: Remote) -> None:
    for args, said in WRONG:
        ended = await remote.cli("run", *args)
        assert ended.code == 2
        assert said in ended.err
    assert (await remote.cli("runs")).out == "no runs yet\n"


async def test_a_name_that_no_file_can_have_is_looked_up_on_the_stack(remote: Remote) -> None:
    ended = await remote.cli("run", "a" * 300)
    assert (ended.code, "at most 128 characters" in ended.err) == (2, True)


async def test_a_file_of_the_same_name_runs_here(remote: Remote) -> None:
    (remote.folder / "poem").write_text((remote.folder / "poem.yaml").read_text())
    ended = await remote.cli(*RAIN)
    assert "provider 'scripted' needs the tests of the document" in ended.err
