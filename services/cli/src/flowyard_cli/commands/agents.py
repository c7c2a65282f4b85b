"""`flowyard agents`: the registered agents and their load."""

from __future__ import annotations

import argparse
from functools import partial

from flowyard.api.agents import AgentInfo
from flowyard.api.client import Client
from flowyard_cli.grammar import StackArgs, carry_out, stack_command
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.format import count
from flowyard_cli.show.tables import ago, print_items


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, "  flowyard agents")
    carry_out(parser, StackArgs, partial(at_the_stack, _list))


def _list(client: Client, args: StackArgs) -> int:
    columns = ("agent", "name", "kind", "version", "host", "slots", "last seen")
    return print_items(client.agents(), columns, _row, as_json=args.json, empty="no agents")


def _row(agent: AgentInfo) -> tuple[object, ...]:
    slots = agent.slots if agent.slots_used is None else f"{agent.slots_used} of {count(agent.slots)}"
    return agent.id, agent.name, agent.kind, agent.version, agent.host, slots, ago(agent.heartbeat_at)
