"""The command line's grammar: each command gets its arguments, and the help names all commands."""

from __future__ import annotations

from dataclasses import is_dataclass

import pytest

from flowyard_cli.grammar import arguments
from flowyard_cli.main import COMMANDS, build_parser

SHORTEST = [
    *("run x", "validate x", "test x", "graph x", "schema", "init x", "up", "down", "migrate", "apply x"),
    *("tools", "tools list", "tools show x", "tools call x"),
    *(
        "chat",
        "chat x",
        "chat --new",
        "assistant",
        "mcp",
        "ask x",
        "chats",
        "chats list",
        "chats show 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20",
    ),
    "chats delete 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20",
    *("agents", "logs", "logs last", "status", "cost-report", "profile-report"),
    *("workflows", "workflows list", "workflows show x", "workflows revisions x", "workflows diff x"),
    *("workflows rollback x 1", "workflows delete x"),
    *(
        "runs",
        "runs list",
        "runs show x",
        "runs events x",
        "runs follow x",
        "runs cancel x",
        "runs retry x",
        "runs fork x",
    ),
    *("triggers", "triggers list", "triggers show x y", "triggers pause x y", "triggers resume x y"),
    *("triggers deliveries", "triggers replay 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20"),
    *("triggers test x --payload y", "hooks send x --payload y"),
    *(
        "notifications",
        "notifications list",
        "notifications receivers",
        "notifications show 0123456789abcdef",
        "notifications secret",
    ),
    *("notifications replay 0123456789abcdef", "notifications enable 0123456789abcdef"),
    *("keys", "keys list", "keys create x --scope run", "keys rotate k7c2qmzd", "keys revoke k7c2qmzd"),
    *("audit", "audit verify", "audit verify x"),
]


@pytest.mark.parametrize("line", SHORTEST)
def test_every_command_gets_its_arguments(line: str) -> None:
    words = line.split()
    namespace = build_parser(words[0]).parse_args(words)
    assert is_dataclass(arguments(namespace.kind, namespace))


def test_every_command_is_tried_here() -> None:
    assert {line.split()[0] for line in SHORTEST} == set(COMMANDS)


@pytest.mark.parametrize("line", ["runs --url http://x list", "runs list --url http://x", "keys --json --url http://x"])
def test_where_the_stack_is_may_stand_before_and_after_the_action(line: str) -> None:
    words = line.split()
    namespace = build_parser(words[0]).parse_args(words)
    assert arguments(namespace.kind, namespace).url == "http://x"
