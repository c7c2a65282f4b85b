"""`flowyard validate`, `test`, `graph`, `schema`, `init`, `--help`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from flowyard.graph.cases import differences
from flowyard.language.workflow import Case, Expectation
from flowyard.runs.events import Failure
from flowyard.runs.summary import RunSummary
from flowyard_cli import exits
from flowyard_cli.main import run_command
from support.cli import SCRIPTED, flowyard

BROKEN = SCRIPTED.replace("{topic}", "{topc}")
ROUTED = """\
flow: {name: routed}
state:
  fields: {items: {type: 'list[str]', required: true}, found: list, one: str, done: {type: bool, default: false}}
nodes:
  - {id: look, prompt: "{item}", outputs: [one]}
  - {id: end, prompt: "{found}", outputs: [done], on_error: {goto: rescue}}
  - {id: rescue, prompt: "{found}", outputs: [one]}
edges:
  - {from: START, parallel: {items_field: items, target_node: look, collect_field: found}}
  - {from: look, routes: [{if: 'len(found) > 3 or "a|b" in found', to: end}, {default: END}]}
  - {from: end, loop: {until: done, max_iterations: 2}}
  - {from: rescue, to: END}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "haiku.yaml").write_text(SCRIPTED)
    (tmp_path / "broken.yaml").write_text(BROKEN)
    (tmp_path / "routed.yaml").write_text(ROUTED)
    return tmp_path


def test_validate_names_place_problem_and_suggestion(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["validate", "haiku.yaml", "broken.yaml"]) == exits.WRONG_INPUT
    out = capsys.readouterr().out
    assert "haiku.yaml: ok (2 nodes)" in out
    assert "broken.yaml:9:49: no field 'topc' (did you mean 'topic'?" in out


def test_validate_knows_the_prices_of_this_machine(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = "config: {llm: {provider: hosted_vllm, model: qwen3}, budget: {usd: 1}}\n"
    Path("paid.yaml").write_text(Path("haiku.yaml").read_text().partition("config:")[0] + budget)
    assert run_command(["validate", "paid.yaml"]) == exits.WRONG_INPUT
    assert "the price of hosted_vllm/qwen3 isn't known" in capsys.readouterr().out
    Path("prices.json").write_text('{"hosted_vllm/qwen3": {"input": 1, "output": 2}}')
    monkeypatch.setenv("FLOWYARD_PRICES_FILE", "prices.json")
    assert run_command(["validate", "paid.yaml"]) == exits.OK
    Path("prices.json").write_text("{")
    assert run_command(["validate", "paid.yaml"]) != exits.OK
    assert "FLOWYARD_PRICES: should be JSON such as" in capsys.readouterr().err


def test_validate_goes_on_after_a_file_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["validate", "haku.yaml", "haiku.yaml"]) == exits.WRONG_INPUT
    captured = capsys.readouterr()
    assert "did you mean 'haiku.yaml'?" in captured.err
    assert "haiku.yaml: ok" in captured.out


def test_validate_speaks_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["validate", "broken.yaml", "--format", "json"])
    problem = json.loads(capsys.readouterr().out)[0]
    assert (problem["line"], problem["column"], problem["code"]) == (9, 49, "unknown-field")


def test_validate_speaks_sarif(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["validate", "broken.yaml", "haiku.yaml", "--format", "sarif"])
    log = json.loads(capsys.readouterr().out)
    result = log["runs"][0]["results"][0]
    assert log["version"] == "2.1.0"
    assert result["ruleId"] == "unknown-field"
    assert result["level"] == "error"
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 9, "startColumn": 49}


def test_test_reports_each_case_and_fails_if_one_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["test", "haiku.yaml"]) == exits.OK
    assert "ok   haiku.yaml: rain" in capsys.readouterr().out
    (folder / "wrong.yaml").write_text(SCRIPTED.replace("{mood: calm}}", "{mood: stormy}, nodes: [write]}"))
    assert run_command(["test", "wrong.yaml"]) == exits.RUN_FAILED
    out = capsys.readouterr().out
    assert 'outputs.mood: expected "stormy", got "calm"' in out
    assert "nodes: expected write; got write, judge" in out
    assert "0 passed, 1 failed" in out


def test_test_keeps_the_limit_of_replies(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWYARD_REPLY_LIMIT", "10")
    assert run_command(["test", "haiku.yaml"]) == exits.RUN_FAILED
    assert "the reply is larger than 10 bytes" in capsys.readouterr().out


def test_test_says_why_a_run_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fails.yaml").write_text(SCRIPTED.replace("judge: calm}", "judge: {error: model_refused}}"))
    assert run_command(["test", "fails.yaml"]) == exits.RUN_FAILED
    assert "expected succeeded, got failed: node 'judge'" in capsys.readouterr().out


def test_test_compares_fields_that_no_node_wrote_with_their_value_at_the_end(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "state.yaml").write_text(SCRIPTED.replace("{mood: calm}}", "{mood: calm, n: 1, topic: rain}}"))
    assert run_command(["test", "state.yaml"]) == exits.OK
    failing = SCRIPTED.replace("judge: calm}", "judge: {error: model_refused}}")
    expecting = failing.replace("{outputs: {mood: calm}}", "{status: failed, outputs: {n: 2, poem: Rain}}")
    (folder / "fails.yaml").write_text(expecting)
    assert run_command(["test", "fails.yaml"]) == exits.RUN_FAILED
    out = capsys.readouterr().out
    assert "outputs.n: expected 2, got 1" in out
    assert 'outputs.poem: expected "Rain", got "Soft rain on the roof"' in out


def test_test_names_no_node_where_the_run_itself_failed() -> None:
    case = Case("late", {}, {}, Expectation())
    late = RunSummary(status="failed", error=Failure("run_timeout", "the run took too long"))
    assert list(differences(case, late, {})) == [
        "status: expected succeeded, got failed: the run took too long [run_timeout]"
    ]


def test_test_goes_on_after_a_file_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["test", "haku.yaml", "haiku.yaml"]) == exits.WRONG_INPUT
    captured = capsys.readouterr()
    assert "did you mean 'haiku.yaml'?" in captured.err
    assert "1 passed, 0 failed" in captured.out


def test_graph_draws_every_way_as_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["graph", "routed.yaml"]) == exits.OK
    out = capsys.readouterr().out
    assert "START  --> look   [for each item of items, into found]" in out
    assert "end    --> end   [loop, at most 2 times]" in out
    assert "[on error]" in out
    assert "[else]" in out


def test_graph_escapes_what_mermaid_would_take_for_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["graph", "routed.yaml", "--format", "mermaid"])
    out = capsys.readouterr().out
    assert out.startswith("flowchart TD")
    assert '    end_["end"]' in out
    assert "#quot;a#124;b#quot; in found" in out


def test_graph_of_a_broken_document_shows_its_problems(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["graph", "broken.yaml"]) == exits.WRONG_INPUT
    assert "unknown-field" in capsys.readouterr().err


def test_schema_is_json_schema(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["schema"]) == exits.OK
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].endswith("2020-12/schema")
    Draft202012Validator.check_schema(schema)


def test_the_starter_is_valid_and_its_tests_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["init", "flows/my first"]) == exits.OK
    assert run_command(["validate", "flows/my first.yaml"]) == exits.OK
    assert run_command(["test", "flows/my first.yaml"]) == exits.OK
    assert "2 passed, 0 failed" in capsys.readouterr().out
    assert 'name: "my_first"' in (folder / "flows/my first.yaml").read_text()


def test_init_overwrites_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["init", "haiku"]) == exits.WRONG_INPUT
    assert "--force" in capsys.readouterr().err
    assert (folder / "haiku.yaml").read_text() == SCRIPTED


@pytest.mark.parametrize("name", ["123", "true", "null", "yes", "1e3", "-", "a" * 200, "NAME", "it's", "日本-1"])
def test_whatever_it_is_called_the_starter_is_valid(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run_command(["init", name]) == exits.OK
    printed = capsys.readouterr().out.splitlines()[2]
    assert shlex.split(printed)[2].removeprefix("./") == f"{name}.yaml"
    assert not shlex.split(printed)[2].startswith("-")
    assert run_command(["validate", f"./{name}.yaml"]) == exits.OK
    assert printed.strip().removesuffix(" -i topic=rain") in (folder / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", ["", "foo/", ".yaml", "a\nb", "a\x1b[2Jb", "...", "日本"])
def test_init_refuses_what_can_be_no_name(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    before = set(folder.iterdir())
    assert run_command(["init", name]) == exits.WRONG_INPUT
    assert f"{name!r} can't be the name of a workflow" in capsys.readouterr().err
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize("command", ["run", "validate", "test", "graph", "schema", "init"])
def test_help_of_each_command_teaches_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command([command, "--help"])
    assert ended.value.code == 0
    assert f"  flowyard {command}" in capsys.readouterr().out


def test_a_document_comes_from_standard_input(folder: Path) -> None:
    ended = flowyard("run", "-", "-i", "topic=rain", "--json", cwd=folder, stdin=SCRIPTED)
    assert json.loads(ended.out)["status"] == "succeeded"
    assert flowyard("validate", "-", cwd=folder, stdin=BROKEN).out.startswith("<stdin>:9:49:")


def test_assistant_prints_a_document_that_is_valid_here_and_passes_its_tests(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["assistant", "--model", "openai/gpt-4o-mini", "--usd", "0.75"]) == exits.OK
    (folder / "assistant.yaml").write_text(document := capsys.readouterr().out)
    assert 'llm: {"provider": "openai", "model": "gpt-4o-mini", "max_tokens": 16000}' in document
    assert 'budget: {"usd": 0.75' in document
    assert run_command(["validate", "assistant.yaml"]) == exits.OK
    assert run_command(["test", "assistant.yaml"]) == exits.OK
    assert "3 passed, 0 failed" in capsys.readouterr().out


def test_assistant_names_the_models_that_the_machine_knows_and_no_key(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary")
    monkeypatch.setenv("FLOWYARD_PRICES", '{"hosted_vllm/qwen3": {"input": 0.1, "output": 0.4}}')
    assert run_command(["assistant", "--model", "hosted_vllm/other"]) == exits.OK
    out = capsys.readouterr().out
    assert "hosted_vllm/qwen3, any of anthropic" in out
    assert "sk-canary" not in out
    assert 'budget: {"tokens":' in out


def test_assistant_says_that_the_small_model_is_too_small(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["assistant"]) == exits.OK
    captured = capsys.readouterr()
    assert "choose one with --model" in captured.err
    assert '"provider": "local"' in captured.out


@pytest.mark.parametrize("options", [["--model", "gpt-5"], ["--model", "openai/"], ["--usd", "0"], ["--usd", "x"]])
def test_assistant_refuses_what_is_no_model_or_amount(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    try:
        code = run_command(["assistant", *options])
    except SystemExit as error:
        code = int(error.code or 0)
    assert code == exits.WRONG_INPUT
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "longest"), [("openai/gpt-4", 4096), ("gemini/gemini-2.5-pro", 16_000), ("x/y", 8000)]
)
def test_assistant_asks_for_no_longer_replies_than_its_model_can_write(
    folder: Path, capsys: pytest.CaptureFixture[str], model: str, longest: int
) -> None:
    assert run_command(["assistant", "--model", model.replace("x/", "hosted_vllm/")]) == exits.OK
    assert f'"max_tokens": {longest}}}' in capsys.readouterr().out
