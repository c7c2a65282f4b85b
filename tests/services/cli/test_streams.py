"""What becomes of the command line's words: on a terminal, in a pipe, where nobody reads or nothing can be written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flowyard.errors.steps import MissingApiKey
from flowyard.runs.events import Failure
from flowyard.runs.summary import RunSummary
from flowyard_cli import exits
from flowyard_cli.failures import report
from flowyard_cli.main import run_command
from flowyard_cli.show.result import print_result
from flowyard_embedded.streams import make_safe, print_json, printable, put, say
from support.cli import SCRIPTED, clean_environment

RUN = ["run", "haiku.yaml", "-i", "topic=rain"]
STEERING = "a\x1b]0;mine\x07b\x9b2Jc\rd\x7f\te\u202ef\u2066\n"
SEEN = "a\\x1b]0;mine\\x07b\\x9b2Jc\\x0dd\\x7f\te\\u202ef\\u2066\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "haiku.yaml").write_text(SCRIPTED)
    return tmp_path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def unread_pipe() -> io.TextIOWrapper:
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", buffering=1, encoding="utf-8")  # noqa: PTH123  # closed by its test


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nowhere.yaml"], "unreadable_file", "no such file"),
        (["."], "unreadable_file", "is a directory, not a file"),
        (["haiku.yaml"], "invalid_inputs", "topic: missing"),
        (["haiku.yaml", "-i", "topic=x", "--model", "scripted/nothing"], "invalid_inputs", "neither a test"),
    ],
)
def test_with_json_every_fault_is_one_object(
    folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: str, said: str
) -> None:
    assert run_command(["run", *args, "--json"]) == exits.WRONG_INPUT
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["status"] == "invalid"
    assert result["error"]["code"] == code
    assert said in result["error"]["message"]
    assert captured.err == ""


@pytest.mark.parametrize(
    ("error", "status", "exit_code"),
    [
        (ZeroDivisionError("by zero"), "failed", exits.INTERNAL),
        (MissingApiKey(provider="openai", model="gpt", variable="KEY"), "invalid", exits.WRONG_INPUT),
        (KeyboardInterrupt(), "cancelled", exits.CANCELLED),
    ],
)
def test_every_error_can_be_printed_as_json(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: str,
    exit_code: int,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert report(error, as_json=True) == exit_code
    assert json.loads(capsys.readouterr().out)["status"] == status


@pytest.mark.parametrize("module", ["flowyard_cli.grammar", "yaml", "langgraph"])
def test_ctrl_c_during_the_imports_is_a_cancelled_run(folder: Path, module: str) -> None:
    code = f"""\
import os, signal, sys
from importlib.abc import MetaPathFinder
from flowyard_cli.main import main
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
main({[*RUN, "--json"]!r})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == exits.CANCELLED
    assert json.loads(done.stdout)["status"] == "cancelled"
    assert done.stderr == ""


def test_the_process_ends_without_tearing_down_what_ends_with_it(folder: Path) -> None:
    code = """\
import atexit, os
from flowyard_cli.main import main
atexit.register(os.write, 1, b"torn down")
main(["init", "x"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert "wrote x.yaml" in done.stdout
    assert "torn down" not in done.stdout


def test_control_characters_are_made_visible() -> None:
    assert printable(STEERING) == SEEN


def test_what_a_model_says_steers_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    error = Failure("invalid_output", f"no {STEERING}", "write", reply=STEERING)
    print_result(RunSummary(status="failed", outputs={"poem": STEERING}, error=error))
    assert SEEN in out.getvalue()
    assert err.getvalue().count(SEEN.strip()) == 2


def test_outputs_reach_a_pipe_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(RunSummary(status="succeeded", outputs={"poem": STEERING}))
    assert f"\npoem\n{STEERING}\n" in capsys.readouterr().out


def test_json_holds_no_bare_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"poem": STEERING})
    out = capsys.readouterr().out
    assert json.loads(out) == {"poem": STEERING}
    assert printable(out) == out


def test_a_reader_who_leaves_changes_nothing_of_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unread_pipe() as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run_command(RUN) == exits.OK


def test_a_failed_run_says_so_though_nobody_reads_its_outputs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "haiku.yaml").write_text(SCRIPTED.replace("mood: str", "mood: int").replace("{mood: calm}", "{mood: 1}"))
    with unread_pipe() as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run_command(RUN) == exits.RUN_FAILED
    assert "[invalid_output]" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_a_run_goes_on_in_silence_when_nobody_reads_its_progress(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    with unread_pipe() as err:
        monkeypatch.setattr(sys, "stderr", err)
        assert run_command([*RUN, *options]) == exits.OK
    assert "Soft rain on the roof" in capsys.readouterr().out


def test_a_full_disk_is_no_internal_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w", buffering=1) as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run_command(RUN) == exits.NOT_WRITTEN
    assert "flowyard: can't write the output: no space left on device" in capsys.readouterr().err


def test_a_full_disk_is_seen_at_the_last_flush_too(folder: Path) -> None:
    environment = clean_environment({"PYTHONUNBUFFERED": ""})
    command = [sys.executable, "-m", "flowyard_cli", "--version"]
    with Path("/dev/full").open("w") as out:
        done = subprocess.run(
            command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == exits.NOT_WRITTEN
    assert done.stderr == "flowyard: can't write the output: no space left on device\n"


@pytest.mark.parametrize(("closed", "kept"), [("<&- >&-", "judge: done"), ("<&- 2>&-", "Soft rain on the roof")])
def test_closed_streams_are_no_error(folder: Path, closed: str, kept: str) -> None:
    command = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", "flowyard_cli", *RUN]
    done = subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert kept in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_no_character_is_unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for encoding in ("utf-8", "ascii"))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    make_safe()
    put("half \ud83d")
    say("é")
    out.flush()
    assert out.buffer.getvalue() == b"half \\ud83d\n"
    assert err.buffer.getvalue() == b"\\xe9\n"
