"""The servers of MCP that a document names: what is known of their tools before a run."""

from __future__ import annotations

import pytest

from flowyard.language.installation import Installation, Variables
from flowyard.language.load import load_text
from flowyard.language.mcp_servers import LocalServer
from flowyard.language.tools import ToolFacts, ToolRules

FACTS = ToolFacts(name="time.now", description="", parameters={"type": "object"})
WRITES = ToolFacts(name="notes.add", description="", parameters={"type": "object"}, effects=frozenset({"writes"}))
HERE = Installation(
    tools={"time.now": FACTS, "notes.add": WRITES},
    tool_rules=ToolRules({"*.secret": "deny", "local.free": "allow"}),
    mcp_servers={"local": LocalServer(name="local", command="x", tools=("free", "read"))},
    variables=Variables(("*_TOKEN",)),
)
FAR = "far: {url: 'https://example.com/mcp'}"


def problems(servers: str = FAR, tools: str = "{far.find: {allow: '*'}}") -> list[str]:
    text = f"""
flow: {{name: d}}
state: {{fields: {{answer: str}}}}
mcp_servers: {{{servers}}}
nodes: [{{id: ask, prompt: hi, tools: [{tools}], outputs: [answer]}}]
"""
    return [problem.render("d") for problem in load_text(text, "d", HERE).problems]


@pytest.mark.parametrize(
    "tools", ["{far.find: {allow: '*'}}", "{far.*: {allow: '*'}}", "local.free", "{notes.*: {allow: '*'}}"]
)
def test_tools_of_servers_and_patterns_are_accepted(tools: str) -> None:
    assert problems(tools=tools) == []


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ("far: {command: 'rm -rf /'}", "d:4:21: a document can't name a program: only an installation starts programs"),
        ("far: {command: x}", "(let FLOWYARD_MCP_SERVERS name it, or write url: https://HOST/PATH) [server-command]"),
        ("far: {url: 'https://example.com/', command: x}", "[server-command]"),
        ("far: {}", "'far' needs the key 'url'"),
        ("far: {url: 'file:///etc/passwd'}", "'url' must begin with http:// or https://"),
        ("far: {url: 'https://example.com/', headers: {Authorization: '${env:PASSWORD}'}}",
         "documents may not name the variable PASSWORD (name another, or set FLOWYARD_DOCUMENT_VARIABLES="),
        ("far: {url: 'https://example.com/', headers: {Authorization: '${env:FLOWYARD_X}'}}", "[bad-reference]"),
        ("far: {url: 'https://example.com/', headers: {Authorization: '${file:x}'}}", "[bad-reference]"),
        ("far: {url: 'https://example.com/', header: {}}", "no key 'header' in 'far' (did you mean 'headers'?)"),
        (f"{FAR}, Bad-Name: {{url: 'https://example.com/'}}", "'Bad-Name' can't be the name of a server"),
        (f"{FAR}, time: {{url: 'https://example.com/'}}", "'time' can't be the name of a server"),
        (f"{FAR}, local: {{url: 'https://example.com/'}}", "'local' can't be the name of a server"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_server_is_said(servers: str, problem: str) -> None:
    assert any(problem in each for each in problems(servers)), problems(servers)


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ("far.find", "'far.find' needs permission: network (write far.find: {allow: ['*']})"),
        ("far.*", "'far.*' needs permission: network"),
        ("{far.find: {allow: ['https://*']}}", "'far.find' has no argument to compare with 'https://*'"),
        ("far.secret", "this installation denies 'far.secret'"),
        ("local.read", "'local.read' needs permission: runs"),
        ("local.other", "no tool 'local.other'"),
        ("local", "no tool 'local'"),
        ("other.*", "no tool 'other.*'"),
        ("notes.*", "'notes.add' needs permission: writes (write notes.*: {allow: ['*']})"),
    ],
)
def test_what_is_wrong_with_a_tool_is_said(tools: str, problem: str) -> None:
    assert any(problem in each for each in problems(tools=tools)), problems(tools=tools)


def test_a_tool_node_calls_one_tool() -> None:
    text = f"""
flow: {{name: d}}
state: {{fields: {{answer: any}}}}
mcp_servers: {{{FAR}}}
nodes: [{{id: call, tool: {{far.*: {{allow: '*'}}}}, outputs: [answer]}}]
"""
    [problem] = [each.message for each in load_text(text, "d", HERE).problems]
    assert problem == "a tool node calls one tool, and 'far.*' stands for many"
