"""`flowyard tools`: lists, shows and calls the tools of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowyard_cli import exits
from flowyard_cli.main import run_command


def test_tools_are_listed_with_what_the_installation_says_of_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWYARD_TOOL_RULES", '{"math.*": "deny"}')
    assert run_command(["tools"]) == exits.OK
    lines = {line.split()[0]: line.split()[1:3] for line in capsys.readouterr().out.splitlines()}
    assert (lines["math.eval"], lines["time.now"]) == (["none", "deny"], ["none", "document"])
    assert run_command(["tools", "list", "--json"]) == exits.OK
    assert "math.eval" in {tool["name"] for tool in json.loads(capsys.readouterr().out)["items"]}


def test_a_tool_is_shown_with_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["tools", "show", "json.query"]) == exits.OK
    out = capsys.readouterr().out
    assert [line.split()[:3] for line in out.splitlines() if line.startswith(("data", "query"))] == [
        ["data", "any", "yes"],
        ["query", "string", "yes"],
    ]


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["math.eval", "-a", "expression=x * 2", "-a", 'variables={"x": 3}'], "6\n"),
        (["text.split", "-a", "text=a;b", "-a", "separator=;"], '[\n  "a",\n  "b"\n]\n'),
        (["json.query", "-a", 'data="[1, 2]"', "-a", "query=[1]"], "2\n"),
    ],
)
def test_a_call_prints_the_result(arguments: list[str], out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["tools", "call", *arguments]) == exits.OK
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["math.eval", "-a", "expression=1/0"], exits.RUN_FAILED, "a division by zero [failed]"),
        (["math.eval"], exits.RUN_FAILED, "'expression' is a required property [invalid_arguments]"),
        (["math.evla"], exits.WRONG_INPUT, "no tool 'math.evla' (did you mean 'math.eval'?)"),
        (["math.eval", "-a", "expression"], exits.WRONG_INPUT, "-a should be NAME=VALUE"),
    ],
)
def test_a_call_that_fails_says_why(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["tools", "call", *arguments]) == code
    assert said in capsys.readouterr().err


def test_what_the_installation_denies_is_not_called(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWYARD_TOOL_RULES", '{"*": "deny"}')
    assert run_command(["tools", "call", "time.now"]) == exits.RUN_FAILED
    assert "the installation denies time.now [denied]" in capsys.readouterr().err
    monkeypatch.setenv("FLOWYARD_TOOL_RULES", "{")
    assert run_command(["tools", "call", "time.now"]) == exits.WRONG_INPUT
    assert "FLOWYARD_TOOL_RULES" in capsys.readouterr().err


def test_a_wrong_setting_of_tools_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FLOWYARD_OUTBOUND_ALLOW", "10.1")
    assert run_command(["tools", "call", "time.now"]) == exits.WRONG_INPUT
    assert "FLOWYARD_OUTBOUND_ALLOW" in capsys.readouterr().err


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of own tools, of which one file is broken."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "calc.py").write_text("EFFECTS = []\ndef twice(n: int) -> int:\n    'Doubles.'\n    return 2 * n\n")
    (folder / "broken.py").write_text("import nothing_of_this_name\n")
    monkeypatch.setenv("FLOWYARD_TOOLS", str(folder))
    return folder


CALC = """\
flow: {name: calc}
state: {fields: {n: int, answer: str}}
nodes:
  - {id: double, tool: calc.twice, with: {n: 21}, outputs: [n]}
  - {id: ask, prompt: "What is twice {n}?", tools: [calc.twice], outputs: [answer]}
tests:
  - name: it doubles
    replies: {ask: [{tool_calls: [{name: calc.twice, arguments: {n: 42}}]}, done]}
    expect: {outputs: {n: 42, answer: done}, calls: {ask: 2}}
config: {llm: {provider: openai, model: m}}
"""


@pytest.mark.usefixtures("own")
def test_own_tools_are_listed_called_and_named_by_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(["tools", "list", "--json"]) == exits.OK
    tools = {tool["name"]: tool for tool in json.loads(capsys.readouterr().out)["items"]}
    assert tools["calc.twice"]["description"] == "Doubles."
    assert run_command(["tools", "call", "calc.twice", "-a", "n=4"]) == exits.OK
    assert capsys.readouterr().out == "8\n"
    document = tmp_path / "calc.yaml"
    document.write_text(CALC)
    assert run_command(["validate", str(document)]) == exits.OK
    assert run_command(["test", str(document)]) == exits.OK
    monkeypatch.delenv("FLOWYARD_TOOLS")
    assert run_command(["validate", str(document)]) == exits.WRONG_INPUT
    assert "no tool 'calc.twice'" in capsys.readouterr().out


def test_a_folder_of_own_tools_has_to_be_there(monkeypatch: pytest.MonkeyPatch, own: Path) -> None:
    monkeypatch.setenv("FLOWYARD_TOOLS", str(own / "calc.py"))
    for command in (["tools", "list"], ["tools", "call", "time.now"]):
        assert run_command(command) == exits.WRONG_INPUT


def test_operations_of_apis_are_tools_that_documents_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pets = Path(__file__).parents[2] / "data" / "openapi" / "pets.yaml"
    (tmp_path / "apis.yaml").write_text(f"- {{openapi: {pets}, operations: [listPets]}}\n")
    monkeypatch.setenv("FLOWYARD_OPENAPI", str(tmp_path / "apis.yaml"))
    assert run_command(["tools", "show", "pet_shop.listPets", "--json"]) == exits.OK
    assert json.loads(capsys.readouterr().out)["effects"] == ["network"]
    document = tmp_path / "adopt.yaml"
    document.write_text(
        "flow: {name: adopt}\nstate: {fields: {pets: dict}}\n"
        "nodes: [{id: a, tool: {pet_shop.listPets: {allow: '*'}}, outputs: [pets]}]\n"
    )
    assert run_command(["validate", str(document)]) == exits.OK
    monkeypatch.setenv("FLOWYARD_OPENAPI", "[{}]")
    assert run_command(["tools"]) == exits.WRONG_INPUT
    assert "FLOWYARD_OPENAPI" in capsys.readouterr().err
