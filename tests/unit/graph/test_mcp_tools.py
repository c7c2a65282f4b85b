"""Runs whose nodes call tools of MCP servers: of the installation, and of the document."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowyard.graph.run import RunResult
from flowyard.language.load import load_text
from flowyard.mcp_client.source import ServerSource
from flowyard.tools.registry import ToolRegistry
from support.mcp_http_server import HttpServer, serving
from support.mcp_servers import bad_server, opened_servers
from support.workflows import run as run_document

pytestmark = pytest.mark.slow

HEAD = """
flow: {name: asks}
state:
  fields:
    question: {type: str, default: a}
    answer: str
"""
CALLS = """
nodes:
  - {id: call, tool: {%s: {allow: '*'}}, with: {text: '{question}!'}, outputs: [answer]}
"""
ASKS = """
nodes:
  - id: ask
    prompt: '{question}'
    tools: [{%s: {allow: '*'}}]
    outputs: [answer]
"""


@asynccontextmanager
async def registry(habit: str = "") -> AsyncIterator[ToolRegistry]:
    """With one program, `bad`; documents may reach this machine."""
    async with opened_servers({"WIKI_TOKEN": "given"}, allow="127.0.0.1") as servers:
        yield ToolRegistry(sources=[ServerSource(bad_server(habit), servers)], servers=servers.tools)


def far_in_document(far: HttpServer, name: str = "far") -> str:
    headers = "headers: {Authorization: 'Bearer ${env:WIKI_TOKEN}'}"
    return f"{HEAD}mcp_servers: {{{name}: {{url: '{far.url}', {headers}}}}}\n"


async def run(document: str, tools: ToolRegistry, replies: Mapping[str, Any] | None = None) -> RunResult:
    return (await run_document(document, replies=replies, tools=tools)).result


async def test_a_node_calls_a_program_of_the_installation() -> None:
    async with registry() as tools:
        assert (await run(HEAD + CALLS % "bad.echo", tools)).outputs == {"answer": "a!"}


async def test_a_node_calls_a_server_of_its_document_with_a_secret_from_a_variable() -> None:
    async with serving() as far, registry() as tools:
        assert (await run(far_in_document(far) + CALLS % "far.echo", tools)).outputs == {"answer": "a!"}
        assert far.headers["Authorization"] == "Bearer given"


async def test_a_model_gets_all_tools_that_a_pattern_stands_for() -> None:
    calls = {"tool_calls": [{"name": "far_echo", "arguments": {"text": "b"}}]}
    async with serving() as far, registry() as tools:
        result = await run(far_in_document(far) + ASKS % "far.*", tools, {"ask": [calls, "done"]})
        assert result.outputs == {"answer": "done"}
        assert far.received.count("tools/call") == 1


@pytest.mark.parametrize(
    ("habit", "name", "error"),
    [
        ("", "bad.ecko", "this executor has no tool 'bad.ecko' (did you mean 'bad.echo'?)"),
        ("many", "bad.*", "there are 500 tools to choose from, and the limit is 64: name those you need"),
        ("quits", "bad.echo", "the server 'bad' can't be reached: it has ended with 3: no configuration"),
    ],
)
async def test_what_a_server_has_not_fails_the_step_that_names_it(habit: str, name: str, error: str) -> None:
    async with registry(habit) as tools:
        result = await run(HEAD + ASKS % name, tools, {"ask": ["never asked for"]})
    assert result.error is not None
    assert result.error.code == "tool_error"
    assert error in result.error.message


async def test_a_server_of_a_document_cannot_have_the_name_of_one_of_the_installation() -> None:
    """Rules for the installation's would permit what the document's does."""
    async with serving() as far, registry() as tools:
        result = await run(far_in_document(far, "bad") + CALLS % "bad.echo", tools)
        assert "'bad' can't be a server of a document" in str(result.error)
        assert far.received == []


async def test_a_call_without_permission_is_not_made() -> None:
    document = HEAD + "nodes: [{id: call, tool: bad.echo, with: {text: a}, outputs: [answer]}]"
    async with registry() as tools:
        result = await run(document, tools)
    assert "not permitted: the workflow doesn't allow bad.echo" in str(result.error)


def test_a_document_with_servers_is_loaded() -> None:
    text = (
        HEAD + "mcp_servers: {far: {url: 'https://example.com/mcp', timeout: 5s, allow: [get_*]}}" + CALLS % "far.get_x"
    )
    assert load_text(text, "d.yaml").problems == ()
