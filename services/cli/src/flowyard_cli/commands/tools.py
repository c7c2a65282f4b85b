"""`flowyard tools`: lists the tools of this installation, shows one, and calls it, to try it out."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flowyard.errors.base import FlowyardError
from flowyard.language.problems import suggest
from flowyard.language.tools import ToolFacts, ToolUse
from flowyard.tools.calling import call_tool
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.tool import Tool, ToolContext, ToolFailed, ToolResult
from flowyard_cli import exits
from flowyard_cli.grammar import add_actions, carry_out, examples
from flowyard_cli.installation import open_own_tools, tool_rules_of
from flowyard_cli.show.tables import NONE, print_facts, print_table
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard tools                                            the tools that documents may name here
  flowyard tools show math.eval                             its arguments
  flowyard tools call math.eval -a expression='6 * 7'       call it
  flowyard tools call time.now -a zone=Europe/Paris --json

Tools are called on this machine, under the rules in FLOWYARD_TOOL_RULES, as an executor calls them, and so are
those of the servers in FLOWYARD_MCP_SERVERS."""


@dataclass(frozen=True, kw_only=True)
class ListArgs:
    json: bool


@dataclass(frozen=True, kw_only=True)
class ShowArgs:
    tool: str
    json: bool


@dataclass(frozen=True, kw_only=True)
class CallArgs:
    tool: str
    argument: Sequence[str]
    json: bool


class UnknownTool(FlowyardError, code="unknown_tool", status=404):
    """There is no such tool."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no tool '{name}' ({suggest(name, known, 'tools')})")


class WrongArgument(FlowyardError, code="wrong_argument", status=422):
    """`-a` needs a name and a value."""

    def __init__(self, text: str) -> None:
        super().__init__(f"-a should be NAME=VALUE, not '{text}'")


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    parser.set_defaults(json=False)
    _json_option(parser)
    carry_out(parser, ListArgs, _list)
    actions = add_actions(parser)
    listing = actions.add_parser("list", help="list the tools", description="List the tools.")
    _json_option(listing)
    carry_out(listing, ListArgs, _list)
    show = actions.add_parser("show", help="show a tool", description="Show a tool.")
    _name_argument(show)
    carry_out(show, ShowArgs, _show)
    call = actions.add_parser("call", help="call a tool", description="Call a tool.")
    _name_argument(call)
    call.add_argument(
        "-a", "--argument", metavar="NAME=VALUE", action="append", default=[],
        help="an argument: a text, or JSON where the tool takes no text",
    )  # fmt: skip
    carry_out(call, CallArgs, _call)


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")


def _name_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tool", metavar="NAME", help="the name of a tool, such as time.now")
    _json_option(parser)


def _list(args: ListArgs) -> int:
    tools = sorted(asyncio.run(_own_tools()), key=lambda tool: tool.name)
    if args.json:
        print_json({"items": [tool.facts.data for tool in tools]})
    else:
        rules = tool_rules_of(os.environ)
        rows = ((t.name, _effects(t.facts), rules.answer(t.name), t.facts.description) for t in tools)
        print_table(("tool", "effects", "rule", "description"), rows, empty="there are no tools")
    return exits.OK


def _show(args: ShowArgs) -> int:
    facts = _tool(args.tool, asyncio.run(_own_tools())).facts
    if args.json:
        print_json(facts.data)
        return exits.OK
    print_facts(
        [("tool", facts.name), ("description", facts.description), ("effects", _effects(facts)),
         ("rule", tool_rules_of(os.environ).answer(facts.name)), ("guarded", facts.guarded)]
    )  # fmt: skip
    put()
    rows = (
        (name, schema.get("type", "any"), "yes" if name in facts.required else "no", schema.get("description", NONE))
        for name, schema in facts.arguments.items()
    )
    print_table(("argument", "type", "required", "description"), rows, empty="it has no arguments")
    return exits.OK


def _call(args: CallArgs) -> int:
    tool, result = asyncio.run(_called(args))
    if args.json:
        print_json(result.data)
    elif result.error is not None:
        say(f"{tool.name}: {result.error} [{result.outcome}]")
    else:
        put(result.value if isinstance(result.value, str) else json.dumps(result.value, ensure_ascii=False, indent=2))
    return exits.OK if result.error is None else exits.RUN_FAILED


async def _called(args: CallArgs) -> tuple[Tool, ToolResult]:
    async with open_own_tools() as tools:
        tool = _tool(args.tool, await _listed(tools, args.tool))
        given = dict(_argument(text, tool.facts) for text in args.argument)
        # Who calls it here may do by himself what the tool does; the installation's rules count.
        use, context = ToolUse(tool.name, ()), ToolContext(key="cli", now=datetime.now(UTC), on_progress=_show_progress)
        return tool, await call_tool(tool, use, given, context, tool_rules_of(os.environ))


def _show_progress(done: float, total: float | None, text: str | None) -> None:
    of = f" of {total:g}" if total is not None else ""
    say(f"{done:g}{of}{f': {text}' if text else ''}")


async def _own_tools() -> Sequence[Tool]:
    """All of them, also those of other servers."""
    async with open_own_tools() as tools:
        for fault in await tools.ready():
            say(fault)
        return list(tools)


async def _listed(tools: ToolRegistry, name: str) -> Sequence[Tool]:
    """Those among which the tool is. Only its own server is waited for."""
    try:
        await tools.ready_for(name)
    except ToolFailed as error:
        say(str(error))
    return list(tools)


def _tool(name: str, tools: Sequence[Tool]) -> Tool:
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None:
        raise UnknownTool(name, [each.name for each in tools])
    return tool


def _argument(text: str, facts: ToolFacts) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise WrongArgument(text)
    if facts.arguments.get(name, {}).get("type") == "string":
        return name, value
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _effects(facts: ToolFacts) -> str:
    return ", ".join(sorted(facts.effects)) or "none"
