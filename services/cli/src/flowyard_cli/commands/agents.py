"""`flowyard agents`: who is there to do work."""

from __future__ import annotations

import argparse

from flowyard.api.agents import AgentInfo
from flowyard.api.client import Client
from flowyard_cli import exits
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.remote.tables import ago, print_items, print_table
from flowyard_cli.show.format import count


def execute(args: argparse.Namespace) -> int:
    return at_the_stack(args, _list)


def _list(client: Client, args: argparse.Namespace) -> int:
    agents = list(client.agents())
    if args.json:
        print_items(agents)
        return exits.OK
    columns = ("agent", "name", "kind", "version", "host", "slots", "last seen")
    print_table(columns, map(_row, agents), empty="no agents")
    return exits.OK


def _row(agent: AgentInfo) -> tuple[object, ...]:
    return agent.id, agent.name, agent.kind, agent.version, agent.host, _slots(agent), ago(agent.heartbeat_at)


def _slots(agent: AgentInfo) -> object:
    return agent.slots if agent.slots_used is None else f"{agent.slots_used} of {count(agent.slots)}"
