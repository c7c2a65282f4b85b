"""`flowyard mcp`: an MCP server over standard input and output, which clients on this machine start."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, get_args

import httpx

from flowyard.access import Scope
from flowyard.api.client import Client
from flowyard.threads import in_daemon_thread
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, carry_out, stack_command
from flowyard_cli.mcp.bridge import Bridge
from flowyard_cli.remote.stack import at_the_stack
from flowyard_embedded.streams import flush, put, say

_EXAMPLES: Final = """\
  flowyard mcp                             validate, apply, run and inspect workflows
  flowyard mcp --scope read                only look at them
  flowyard mcp --scope write --scope run --url https://flows.example.org

A client starts it by itself. Its settings need the command, such as:
  {"mcpServers": {"flowyard": {"command": "flowyard", "args": ["mcp"]}}}

Its tools are the workflows with an mcp trigger, and those that manage workflows: `--scope` says which of them are
offered, as far as the key has these scopes."""
_DEFAULT: Final[tuple[Scope, ...]] = ("run", "write")
_LONGEST: Final = 16 << 20
"""Bytes of a message."""


@dataclass(frozen=True, kw_only=True)
class McpArgs(StackArgs):
    """`scope`: None: the default."""

    scope: Sequence[Scope] | None


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.add_argument(
        "--scope", choices=get_args(Scope), action="append",
        help=f"offer the tools of this scope; may be given several times (default: {' and '.join(_DEFAULT)})",
    )  # fmt: skip
    carry_out(parser, McpArgs, partial(at_the_stack, _serve))


def _serve(client: Client, args: McpArgs) -> int:
    if sys.stdin.isatty():
        say("flowyard: waiting for messages of MCP, a line of JSON each; a client usually starts this command")
    return asyncio.run(_bridge(client, args.scope or _DEFAULT))


async def _bridge(client: Client, allowed: Sequence[Scope]) -> int:
    async with httpx.AsyncClient(
        base_url=client.url,
        headers=client.http.headers,
        # Runs take as long as they take: the gateway ends a call, or the client gives it up.
        timeout=httpx.Timeout(None, connect=5),
        trust_env=client.http.trust_env,
    ) as http:
        bridge = Bridge(client, http, allowed, _answer)
        while line := await in_daemon_thread(lambda: sys.stdin.buffer.readline(_LONGEST + 1)):
            if len(line) > _LONGEST:
                say(f"flowyard: a message has more than {_LONGEST:,} bytes")
                return exits.WRONG_INPUT
            if line.strip():
                await bridge.receive(line)
        await bridge.finish()
    return exits.OK


async def _answer(message: dict[str, Any]) -> None:
    put(json.dumps(message, separators=(",", ":")))
    flush()
