"""Tools in documents: which a node may name, what it may allow them, and what is said of mistakes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from flowyard.language.installation import KEYS_AND_TOKENS, Installation
from flowyard.language.load import load_text
from flowyard.language.nodes import PromptNode, ToolNode
from flowyard.language.older_tools import INSTEAD, OLDER_NAMES
from flowyard.language.tools import ToolFacts, ToolRules, ToolUse, read_rules
from flowyard.tools.registry import ToolRegistry
from support.workflows import document

SCHEMA = {
    "type": "object",
    "properties": {"url": {"type": "string"}, "depth": {"type": "integer"}},
    "required": ["url"],
    "additionalProperties": False,
}
HTTP_GET = ToolFacts(name="http.get", description="", parameters=SCHEMA, effects=frozenset({"network"}), guarded="url")
TIME_NOW = ToolFacts(name="time.now", description="", parameters={"type": "object", "properties": {}})
TOOLS = {"http.get": HTTP_GET, "time.now": TIME_NOW}


def problems_of(text: str, rules: str = "{}") -> list[str]:
    installation = Installation(tools=TOOLS, tool_rules=read_rules(rules))
    return [problem.render("t.yaml") for problem in load_text(text, "t.yaml", installation).problems]


def prompt_with(options: str) -> str:
    lines = f"- id: ask\n  prompt: Hi\n  outputs: [answer]\n{textwrap.indent(textwrap.dedent(options), '  ')}"
    return document("", fields="answer: str", nodes=lines)


def tool_node(options: str) -> str:
    return document(
        "",
        fields="page: any\nname: {type: str, default: a}",
        nodes=f"- id: get\n{textwrap.indent(textwrap.dedent(options), '  ')}",
    )


def test_a_prompt_names_its_tools_and_how_they_are_used() -> None:
    text = prompt_with("""
        tools:
        - time.now
        - http.get: {allow: "https://api.example.com/*", deny: ["*/admin", "*/users"]}
        max_tool_rounds: 3
        on_tool_error: fail
        """)
    assert problems_of(text) == []
    workflow = load_text(text, "t.yaml").workflow
    assert workflow is not None
    node = workflow.nodes["ask"]
    assert isinstance(node, PromptNode)
    assert node.tools == (
        ToolUse("time.now"),
        ToolUse("http.get", ("https://api.example.com/*",), ("*/admin", "*/users")),
    )
    assert (node.max_tool_rounds, node.on_tool_error) == (3, "fail")


def test_a_tool_node_has_arguments_and_outputs() -> None:
    text = tool_node("""
        tool: {http.get: {allow: "*"}}
        with: {url: "https://example.com/{name}", depth: {expr: 1 + 1}}
        outputs: [page]
        """)
    assert problems_of(text) == []
    workflow = load_text(text, "t.yaml").workflow
    assert workflow is not None
    node = workflow.nodes["get"]
    assert isinstance(node, ToolNode)
    assert node.tool == ToolUse("http.get", ("*",))
    assert node.names_read == {"name"}
    assert [output.field for output in node.outputs] == ["page"]


FILES_READ = ToolFacts(name="files.read", description="", parameters=SCHEMA, guarded="url")


def read_with(tools: Mapping[str, ToolFacts], text: str) -> tuple[Sequence[str], list[str]]:
    """The names of the tools of its node, and its problems."""
    loaded = load_text(text, "t.yaml", Installation(tools=tools))
    node = loaded.workflow.nodes["ask"] if loaded.workflow is not None else None
    names = [use.name for use in node.tools] if isinstance(node, PromptNode) else []
    return names, [problem.render("t.yaml") for problem in loaded.problems]


def test_an_older_name_is_read_as_the_tool_that_does_the_same() -> None:
    tools = {**TOOLS, "files.read": FILES_READ}
    note = "t.yaml:9:13: warning: 'file_read' is read as 'files.read': write that [older-tool-name]"
    assert read_with(tools, prompt_with("tools: [file_read]")) == (["files.read"], [note])
    names, [problem] = read_with(tools, prompt_with("tools: [{file_read: {allow: 'docs/*'}}]"))
    assert (names, "9:14: warning" in problem) == (["files.read"], True)
    own = replace(FILES_READ, name="file_read")
    assert read_with({**tools, "file_read": own}, prompt_with("tools: [file_read]")) == (["file_read"], [])
    assert "no tool 'file_read'" in read_with(TOOLS, prompt_with("tools: [file_read]"))[1][0]


@pytest.mark.parametrize("name", INSTEAD)
def test_what_no_tool_does_is_said_with_what_to_use_instead(name: str) -> None:
    assert problems_of(prompt_with(f"tools: [{name}]")) == [
        f"t.yaml:9:13: no tool '{name}' ({INSTEAD[name]}) [unknown-tool]"
    ]


def test_each_older_name_is_that_of_a_tool() -> None:
    assert set(OLDER_NAMES.values()) <= {tool.name for tool in ToolRegistry()}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("tools: [time.mow]", "t.yaml:9:13: no tool 'time.mow' (did you mean 'time.now'?) [unknown-tool]"),
        ("tools: [{time.mow: {}}]", "t.yaml:9:14: no tool 'time.mow' (did you mean 'time.now'?) [unknown-tool]"),
        (
            "tools: [http.get]",
            "t.yaml:9:13: 'http.get' needs permission: network (write http.get: {allow: [patterns of its 'url']})",
        ),
        (
            "tools: [time.now, time.now]",
            "t.yaml:9:23: 'time.now' is listed twice (remove one of them) [duplicate-tool]",
        ),
        (
            "tools: [{time.now: {allow: 'a*'}}]",
            "t.yaml:9:14: 'time.now' has no argument to compare with 'a*' (write '*', or remove it) [tool-pattern]",
        ),
        (
            "tools: [{http.get: {ask: '*'}}]",
            "t.yaml:9:25: 'ask' isn't supported yet: this version of Flowyard has no human steps (remove it)",
        ),
        (
            "tools: [{http.get: {alow: '*'}}]",
            "t.yaml:9:25: no key 'alow' in 'http.get' (did you mean 'allow'?) [unknown-key]",
        ),
        ("max_tool_rounds: 0", "t.yaml:9:22: 'max_tool_rounds' must be at least 1"),
        ("on_tool_error: stop", "t.yaml:9:20: 'on_tool_error' can't be 'stop' (values: continue, fail)"),
        ("with: {a: 1}", "t.yaml:9:5: 'with' has no meaning in a node with 'prompt' (remove it) [wrong-kind]"),
    ],
)
def test_a_mistake_is_named_at_its_place(options: str, problem: str) -> None:
    found = problems_of(prompt_with(options))
    assert any(each.startswith(problem) for each in found), found


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("tool: time.mow", "no tool 'time.mow' (did you mean 'time.now'?) [unknown-tool]"),
        (
            "tool: {http.get: {allow: '*'}}\nwith: {ulr: a}",
            "'http.get' has no argument 'ulr' (did you mean 'url'?) [unknown-argument]",
        ),
        ("tool: {http.get: {allow: '*'}}", "'http.get' needs the argument 'url' (write with: {url: …}) [missing-key]"),
        ("tool: time.now\noutputs: [pge]", "no field 'pge' in the state (did you mean 'page'?) [undeclared-output]"),
        ("tool: time.now\nwith: {zone: '{nam}'}", "no field 'nam'"),
        ("tool: time.now\nprompt: Hi\noutputs: [page]", "node 'get' has two kinds of work: 'prompt' and 'tool'"),
        ("tool: time.now\nmax_tool_rounds: 3", "'max_tool_rounds' has no meaning in a node with 'tool'"),
    ],
)
def test_a_mistake_in_a_tool_node_is_named(options: str, problem: str) -> None:
    found = problems_of(tool_node(options))
    assert any(problem in each for each in found), found


@pytest.mark.parametrize(
    ("rules", "options", "code"),
    [
        ('{"http.*": "allow"}', "tools: [http.get]", None),
        ('{"http.*": "deny"}', "tools: [{http.get: {allow: '*'}}]", "tool-denied"),
        ('{"http.get": "document", "*": "deny"}', "tools: [{http.get: {allow: '*'}}]", None),
        ('{"*": "deny"}', "tools: [time.now]", "tool-denied"),
    ],
)
def test_the_installation_bounds_what_a_document_may_allow(rules: str, options: str, code: str | None) -> None:
    found = problems_of(prompt_with(options), rules)
    assert [each.rpartition("[")[2] for each in found] == ([f"{code}]"] if code else [])


def test_nothing_is_said_of_tools_where_it_is_not_known_which_there_are() -> None:
    assert load_text(prompt_with("tools: [made.up]"), "t.yaml").problems == ()


def test_a_run_that_records_nothing_before_its_end_calls_no_tools() -> None:
    text = tool_node("tool: time.now\noutputs: [page]").replace(
        "llm: {provider: scripted}", "execution: {durability: exit}\n  llm: {provider: scripted}"
    )
    assert any("[exit-durability]" in each for each in problems_of(text))


@pytest.mark.parametrize(
    ("model", "is_refused"),
    [
        ("{provider: anthropic, model: m, extra: {thinking: {type: enabled, budget_tokens: 1024}}}", True),
        ("{provider: anthropic, model: m}", False),
        ("{provider: openai, model: m, extra: {reasoning_effort: low}}", False),
    ],
)
def test_signed_reasoning_which_is_not_kept_is_refused_beside_tools(model: str, *, is_refused: bool) -> None:
    text = prompt_with("tools: [time.now]").replace("{provider: scripted}", model)
    assert any("[not-supported-yet]" in each for each in problems_of(text)) is is_refused


def test_a_secret_is_no_argument() -> None:
    text = document(
        "", fields="page: any\ntoken: {type: str, required: true, secret: true}",
        nodes="- {id: get, tool: {http.get: {allow: '*'}}, with: {url: '{token}'}, outputs: [page]}",
    )  # fmt: skip
    assert any("[secret-use]" in each for each in problems_of(text))


def test_rules_of_an_installation_are_read_or_refused() -> None:
    assert read_rules('{"http.*": "deny"}') == ToolRules({"http.*": "deny"})
    for text in ("{", "[]", '{"a": "maybe"}'):
        with pytest.raises(ValueError, match="should be"):
            read_rules(text)


API = "{openapi: 'https://api.example.com/openapi.json', operations: [listPets, addPet], allow: '*'}"


def test_an_api_is_named_by_the_address_of_its_description() -> None:
    text = prompt_with(f"tools: [time.now, {API}]")
    assert problems_of(text) == []
    workflow = load_text(text, "t.yaml", Installation(tools=TOOLS)).workflow
    assert workflow is not None
    node = workflow.nodes["ask"]
    assert isinstance(node, PromptNode)
    assert [use.name for use in node.tools] == ["time.now", "api_example_com.listPets", "api_example_com.addPet"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (API.replace(", allow: '*'", ""), "'api_example_com.listPets' needs permission: network, writes"),
        (API.replace("https://api.example.com/", "./"), "a document can't name a file"),
        (API.replace("https://api.example.com/", "https:///"), "'openapi' "),
        (API.replace("addPet", "listPets"), "'api_example_com.listPets' is listed twice"),
        (API.replace("addPet", "'add a pet'"), "'api_example_com.add a pet' should be letters"),
        (API.replace("allow", "headers: {X: '${file:/etc/passwd}'}, allow"), "only ${env:NAME} can be referred to"),
        (API.replace("allow", "name: 'a b', allow"), "name"),
        (API.replace("operations: [listPets, addPet]", "operations: []"), "operations"),
        (API.replace("operations: [listPets, addPet], ", ""), "operations"),
    ],
)
def test_what_is_wrong_with_an_api_is_said(given: str, problem: str) -> None:
    [first, *_] = problems_of(prompt_with(f"tools: [time.now, {given}]"))
    assert problem in first


def test_headers_of_an_api_name_only_variables_that_documents_may_name() -> None:
    text = prompt_with("tools: [" + API.replace("allow", "headers: {X: '${env:HOME}'}, allow") + "]")
    installation = Installation(tools=TOOLS, variables=KEYS_AND_TOKENS)
    assert "variable-not-allowed" in [problem.code for problem in load_text(text, "t.yaml", installation).problems]


def test_an_installation_may_deny_the_apis_of_documents() -> None:
    [first, *_] = problems_of(prompt_with(f"tools: [{API}]"), rules='{"api_*": "deny"}')
    assert "this installation denies 'api_example_com.listPets'" in first


def test_a_tool_node_calls_one_operation() -> None:
    one = API.replace(", addPet", "")
    assert [p for p in problems_of(tool_node(f"tool: {one}\noutputs: [page]")) if "unread-input" not in p] == []
    problems = problems_of(tool_node(f"tool: {API}\noutputs: [page]"))
    assert any("a tool node calls one operation" in problem for problem in problems)
