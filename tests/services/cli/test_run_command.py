"""`flowyard run`, as its user has it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.cli import SCRIPTED, begin_flowyard, clean_environment, flowyard
from support.forks import Fork
from support.waiting import eventually
from support.wire.behaviour import Hang, Json, Text
from support.wire.openai import openai_server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "haiku.yaml").write_text(SCRIPTED)
    return tmp_path


def test_a_run_prints_its_outputs_and_a_table_per_node(folder: Path) -> None:
    ended = flowyard("run", "haiku.yaml", "-i", "topic=rain", cwd=folder)
    assert ended.code == 0
    assert "Soft rain on the roof" in ended.out
    assert re.search(r"write +1 +[\d.]+ m?s +\d+% +1 +unknown +unknown +\$0", ended.out)
    assert re.search(r"total +2 ", ended.out)
    assert "write: done in" in ended.err


def test_json_is_one_object_and_nothing_else(folder: Path) -> None:
    ended = flowyard("run", "haiku.yaml", "-i", "topic=rain", "-i", "n=3", "--json", cwd=folder)
    result = json.loads(ended.out)
    assert ended.err == ""
    assert result["status"] == "succeeded"
    assert result["outputs"] == {"poem": "Soft rain on the roof", "mood": "calm"}
    assert [node["node"] for node in result["nodes"]] == ["write", "judge"]
    assert result["totals"]["calls"] == 2
    assert result["totals"]["tokens_in"] is None


def test_the_limit_of_replies_holds_here_too(folder: Path) -> None:
    ended = flowyard("run", "haiku.yaml", "-i", "topic=rain", cwd=folder, env={"FLOWYARD_REPLY_LIMIT": "10"})
    assert ended.code == 1
    assert "the reply is larger than 10 bytes: FLOWYARD_REPLY_LIMIT is the limit" in ended.out + ended.err
    for wrong in ("abc", "0", "-5", "1.5"):
        ended = flowyard("run", "haiku.yaml", "-i", "topic=rain", cwd=folder, env={"FLOWYARD_REPLY_LIMIT": wrong})
        assert ended.code == 2
        assert f"FLOWYARD_REPLY_LIMIT: should be a whole number above 0, not '{wrong}'" in ended.err


def test_inputs_may_come_from_standard_input(folder: Path) -> None:
    ended = flowyard("run", "haiku.yaml", "--inputs", "-", "--json", cwd=folder, stdin='{"topic": "snow"}')
    assert json.loads(ended.out)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-i", "topc=rain"], "did you mean 'topic'?"),
        ([], "topic: missing"),
        (["-i", "topic=rain", "-i", "n=many"], "n: expected int, got str 'many'"),
        (["-i", "topic=rain", "-i", "n=1.5"], "n: expected int, got float 1.5"),
        (["-i", "topic=rain", "-i", "topic=snow"], "topic: given twice"),
        (["-i", "topic"], "write NAME=VALUE"),
        (["-i", "topic=rain", "-i", "poem=mine"], "poem: is written by the workflow"),
        (["--inputs", "nowhere.json"], "nowhere.json: no such file"),
        (["--inputs", "broken.json"], "broken.json:1:11: no JSON: no value begins here"),
        (["--inputs", "list.json"], "expected an object"),
        (["-i", "topic=rain", "--model", "opnai/gpt-4o"], "did you mean 'openai'?"),
        (["-i", "topic=rain", "--model", "openai"], "which model of openai?"),
        (["-i", "topic=rain", "--model", "openai/gpt-4o"], "set the environment variable OPENAI_API_KEY"),
        (["-i", "topic=rain", "--model", "scripted/nothing"], "neither a test of the document nor a file"),
    ],
)
def test_what_is_wrong_with_a_command_is_reported_before_anything_runs(
    folder: Path, args: list[str], said: str
) -> None:
    (folder / "broken.json").write_text('{"topic": }')
    (folder / "list.json").write_text("[1]")
    ended = flowyard("run", "haiku.yaml", *args, cwd=folder)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""


def test_problems_of_the_document_end_with_code_2(folder: Path) -> None:
    (folder / "bad.yaml").write_text(SCRIPTED.replace("{topic}", "{topc}"))
    ended = flowyard("run", "bad.yaml", "-i", "topic=rain", cwd=folder)
    assert ended.code == 2
    assert "bad.yaml:9:49: no field 'topc' (did you mean 'topic'?" in ended.err
    as_json = flowyard("run", "bad.yaml", "-i", "topic=rain", "--json", cwd=folder)
    assert json.loads(as_json.out)["problems"][0]["line"] == 9


def test_a_failed_run_ends_with_code_1_and_keeps_the_reply_that_did_not_fit(folder: Path) -> None:
    document = SCRIPTED.replace("mood: str", "mood: int").replace("outputs: {mood: calm}", "error: invalid_output")
    (folder / "typed.yaml").write_text(document)
    ended = flowyard("run", "typed.yaml", "-i", "topic=rain", cwd=folder)
    assert ended.code == 1
    assert "calm" in ended.err
    assert "[invalid_output]" in ended.err
    result = json.loads(flowyard("run", "typed.yaml", "-i", "topic=rain", "--json", cwd=folder).out)
    assert result["error"]["reply"] == "calm"
    assert result["error"]["node"] == "judge"
    assert result["outputs"] == {"poem": "Soft rain on the roof"}


def test_replies_are_streamed_as_they_come(folder: Path) -> None:
    ended = flowyard("run", "haiku.yaml", "-i", "topic=rain", "--stream", cwd=folder)
    assert "write:\nSoft rain on the roof\nwrite: done" in ended.err


def test_a_replies_file_answers_in_place_of_a_model(folder: Path) -> None:
    (folder / "replies.yaml").write_text("write: From a file\njudge: fine\n")
    ended = flowyard("run", "haiku.yaml", "-i", "topic=x", "--model", "scripted/replies.yaml", cwd=folder)
    assert "From a file" in ended.out


async def test_a_real_provider_is_called_and_its_cost_is_shown(folder: Path) -> None:
    async with openai_server([Text("Soft rain"), Json({"mood": "calm"})]) as server:
        document = SCRIPTED.replace(
            "{provider: scripted}", f"{{provider: openai, model: gpt-4o-mini, api_base: {server.url}}}"
        )
        (folder / "real.yaml").write_text(document)
        process = await _spawn(folder, "run", "real.yaml", "-i", "topic=rain", "--json", OPENAI_API_KEY="sk-canary-1")
        out, err = await process.communicate()
    result = json.loads(out)
    assert result["status"] == "succeeded", err
    assert result["totals"]["cost_usd"] > 0
    assert result["totals"]["tokens_out"] > 0
    assert b"sk-canary-1" not in out + err
    assert server.requests[0].body["model"] == "gpt-4o-mini"


async def test_the_limit_of_replies_holds_for_a_real_provider(folder: Path) -> None:
    async with openai_server([Text("Soft rain")]) as server:
        document = SCRIPTED.replace(
            "{provider: scripted}", f"{{provider: openai, model: gpt-4o-mini, api_base: {server.url}}}"
        )
        (folder / "real.yaml").write_text(document)
        process = await _spawn(
            folder, "run", "real.yaml", "-i", "topic=rain", OPENAI_API_KEY="sk-1", FLOWYARD_REPLY_LIMIT="50"
        )
        out, err = await process.communicate()
    assert b"the reply is larger than 50 bytes: FLOWYARD_REPLY_LIMIT is the limit" in out + err


async def test_ctrl_c_aborts_the_call_in_flight_and_shows_what_was_done(folder: Path) -> None:
    async with openai_server([Text("Soft rain"), Hang()]) as server:
        document = SCRIPTED.replace(
            "{provider: scripted}", f"{{provider: openai, model: gpt-4o-mini, api_base: {server.url}}}"
        )
        (folder / "hangs.yaml").write_text(document)
        process = await _spawn(folder, "run", "hangs.yaml", "-i", "topic=rain", OPENAI_API_KEY="sk-1")
        assert b"judge: started" in await process.stderr.readuntil(b"judge: started")
        await eventually(lambda: len(server.requests) == 2)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130
    assert b"Soft rain" in out
    assert b"cancelled in" in err
    assert b"Traceback" not in err


def test_a_run_with_canned_replies_takes_no_key_and_no_litellm(folder: Path) -> None:
    code = (
        "import sys; from flowyard_cli.main import run_command; "
        "run_command(['run', 'haiku.yaml', '-i', 'topic=rain', '--json']); "
        "print([m for m in ('litellm', 'xllamacpp') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_help_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from flowyard_cli.main import build_parser; build_parser(None).format_help(); "
        "print([m for m in ('pydantic', 'yaml', 'rich', 'langgraph', 'litellm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_terminal_shows_the_run_live(folder: Path) -> None:
    """In a pseudo-terminal: progress with a spinner while it runs, the outputs at the end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "flowyard_cli", "run", "haiku.yaml", "-i", "topic=rain"])
    shown = _read_all(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert "write: done" in shown
    assert "Soft rain on the roof" in shown


def _read_all(terminal: int) -> str:
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
    os.close(terminal)
    return shown.decode(errors="replace")


async def _spawn(folder: Path, *args: str, **env: str) -> Fork:
    return await begin_flowyard(*args, cwd=folder, env=env)
