"""`flowyard keys`: who may talk to the stack."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from flowyard.api.client import Client
from flowyard_cli import exits
from flowyard_cli.remote.stack import Work, at_the_stack
from flowyard_cli.remote.tables import ago, as_data, print_items, print_table
from flowyard_embedded.streams import print_json, put, say


def execute(args: argparse.Namespace) -> int:
    """`args`: action, and what it needs."""
    return at_the_stack(args, _ACTIONS[args.action or "list"])


def _create(client: Client, args: argparse.Namespace) -> int:
    key = client.create_key(args.name, [args.scope])
    if args.json:
        print_json(as_data(key))
    else:
        say(f"key '{key.name}' with the id {key.id} and the scope {args.scope}; it is shown this once:")
        put(key.key)
    return exits.OK


def _list(client: Client, args: argparse.Namespace) -> int:
    keys = client.keys()
    if args.json:
        print_items(keys)
        return exits.OK
    rows = [
        (
            key.id,
            key.name,
            ", ".join(key.scopes),
            ago(key.created_at),
            f"revoked {ago(key.revoked_at)}" if key.revoked_at else "valid",
        )
        for key in keys
    ]
    print_table(("id", "name", "scopes", "created", "status"), rows, empty="no keys")
    return exits.OK


def _revoke(client: Client, args: argparse.Namespace) -> int:
    key = client.revoke_key(args.id)
    if args.json:
        print_json(as_data(key))
    else:
        put(f"key '{key.name}' with the id {key.id} is revoked")
    return exits.OK


_ACTIONS: Final[Mapping[str, Work]] = {"create": _create, "list": _list, "revoke": _revoke}
