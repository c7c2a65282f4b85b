"""`flowyard keys`: makes, lists and revokes API keys."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowyard.access import INCLUDES, Scope
from flowyard.api.client import Client
from flowyard.api.keys import KeyView
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, add_action, add_actions, carry_out, stack_command
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.tables import ago, as_data, print_items
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard keys create 'nightly import' --scope run
  KEY=$(flowyard keys create ci --scope run)
  flowyard keys revoke k7c2qmzd"""


@dataclass(frozen=True, kw_only=True)
class CreateKeyArgs(StackArgs):
    name: str
    scope: Scope


@dataclass(frozen=True, kw_only=True)
class RevokeKeyArgs(StackArgs):
    id: str


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    carry_out(parser, StackArgs, partial(at_the_stack, _list))
    actions = add_actions(parser)
    create = add_action(actions, "create", "Create a key, and print it: it can't be shown again")
    create.add_argument("name", metavar="NAME", help="a name for the key, for people")
    create.add_argument(
        "--scope",
        choices=tuple(INCLUDES),
        required=True,
        help="read; run, which includes read; admin, which includes both",
    )
    carry_out(create, CreateKeyArgs, partial(at_the_stack, _create))
    add_action(actions, "list", "All keys")
    revoke = add_action(actions, "revoke", "Make a key invalid, immediately")
    revoke.add_argument("id", metavar="ID", help="see `keys list`")
    carry_out(revoke, RevokeKeyArgs, partial(at_the_stack, _revoke))


def _create(client: Client, args: CreateKeyArgs) -> int:
    key = client.create_key(args.name, [args.scope])
    if args.json:
        print_json(as_data(key))
    else:
        say(f"key '{key.name}' with the id {key.id} and the scope {args.scope}; it is shown only once:")
        put(key.key)
    return exits.OK


def _list(client: Client, args: StackArgs) -> int:
    columns = ("id", "name", "scopes", "created", "status")
    return print_items(client.keys(), columns, _row, as_json=args.json, empty="no keys")


def _row(key: KeyView) -> tuple[object, ...]:
    status = f"revoked {ago(key.revoked_at)}" if key.revoked_at else "valid"
    return key.id, key.name, ", ".join(key.scopes), ago(key.created_at), status


def _revoke(client: Client, args: RevokeKeyArgs) -> int:
    key = client.revoke_key(args.id)
    if args.json:
        print_json(as_data(key))
    else:
        put(f"key '{key.name}' with the id {key.id} is revoked")
    return exits.OK
