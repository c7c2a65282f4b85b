"""The setting with the servers of an installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowyard.language.mcp_servers import LocalServer, RemoteServer
from flowyard.mcp_client.settings import read_mcp_servers
from flowyard.tools.foreign_schemas import shallow

SERVERS = """\
notes:
  command: notes-server
  args: [--quiet]
  env: {TOKEN: '${env:NOTES_TOKEN}'}
  cwd: /srv
  timeout: 2m
  allow: [read_*]
  effects: [reads]
wiki:
  url: https://wiki.example.com/mcp
  headers: {Authorization: 'Bearer ${env:WIKI_TOKEN}'}
  trust: true
"""


def test_servers_are_read_from_yaml_and_files(tmp_path: Path) -> None:
    (tmp_path / "servers.yaml").write_text(SERVERS)
    assert read_mcp_servers(str(tmp_path / "servers.yaml")) == read_mcp_servers(SERVERS)
    assert read_mcp_servers(SERVERS) == {
        "notes": LocalServer(
            name="notes", command="notes-server", args=("--quiet",), env=(("TOKEN", "${env:NOTES_TOKEN}"),), cwd="/srv",
            timeout=120, tools=("read_*",), effects=frozenset({"reads"}),
        ),
        "wiki": RemoteServer(
            name="wiki", url="https://wiki.example.com/mcp",
            headers=(("Authorization", "Bearer ${env:WIKI_TOKEN}"),), trusted=True,
        ),
    }  # fmt: skip


def test_files_of_other_clients_are_read_as_they_are() -> None:
    text = '{"mcpServers": {"a": {"type": "stdio", "command": "a"}, "b": {"type": "http", "url": "http://127.0.0.1/"}}}'
    assert list(read_mcp_servers(text)) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"a": {"comand": "x"}}', ":1:8: no key 'comand' (did you mean 'command'?)"),
        ('{"a": {}}', ":1:2: 'a' needs either a command or a url"),
        ('{"a": {"command": "x", "url": "http://x/"}}', ":1:2: 'a' needs either a command or a url"),
        ('{"A b": {"command": "x"}}', ":1:2: 'A b' can't be the name of a server"),
        ('{"a": {"command": "x", "headers": {"B": "c"}}}', ":1:24: a server with a command has no 'headers'"),
        ('{"a": {"url": "ftp://x/"}}', ":1:15: should begin with http:// or https://"),
        ('{"a": {"url": "http://x/", "headers": {"B": "${env:FLOWYARD_X}"}}}', "a variable of Flowyard"),
        ('{"a": {"command": "x", "env": {"B": "${file:x}"}}}', "only ${env:NAME} can be referred to"),
        ('{"a": {"command": "x", "timeout": "soon"}}', ":1:35: 'timeout': "),
        ('{"a": {"command": "x", "effects": ["eats"]}}', ":1:36: "),
        ('{"a": ', "is wrong at FLOWYARD_MCP_SERVERS:"),
        ("/no/such/file.yaml", "can't read /no/such/file.yaml"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=r"wrong at|should be") as wrong:
        read_mcp_servers(text)
    assert error in str(wrong.value)


@pytest.mark.parametrize(
    ("schema", "checked"),
    [
        ({}, {"type": "object", "properties": {}, "required": []}),
        (
            {
                "properties": {
                    "a": {"type": "string", "pattern": "(a+)+$"},
                    "b": {"type": ["null", "integer"]},
                    "c": True,
                }
            },
            {"properties": {"a": {"type": ["string"]}, "b": {"type": ["null", "integer"]}, "c": {}}},
        ),
        ({"required": ["a", 7], "additionalProperties": False}, {"required": ["a"], "additionalProperties": False}),
        ({"properties": {"a": {"type": "everything"}}, "required": "a"}, {"properties": {"a": {}}, "required": []}),
        ({"additionalProperties": False, "patternProperties": {"^x": {}}}, {}),
    ],
)
def test_arguments_are_checked_by_names_and_types_alone(schema: dict[str, Any], checked: dict[str, Any]) -> None:
    assert shallow(schema) == {"type": "object", "properties": {}, "required": [], **checked}
