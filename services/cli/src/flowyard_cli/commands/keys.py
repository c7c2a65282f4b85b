"""`flowyard keys`: creates, lists, rotates and revokes API keys."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from flowyard.access import INCLUDES, Scope
from flowyard.api.client import Client
from flowyard.api.keys import LONGEST_OVERLAP_S, MOST_PER_MINUTE, KeyRequest, KeyView, NewKeyView, RotateRequest
from flowyard.api.moments import moment_from_now, read_moment
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, add_action, add_actions, carry_out, identifier, integer, stack_command
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.tables import ago, as_data, print_items, when
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard keys create 'nightly import' --scope run --workflow import --expires 90d
  KEY=$(flowyard keys create ci --scope write)
  KEY=$(flowyard keys rotate k7c2qmzd --overlap 24h)
  flowyard keys revoke k7c2qmzd

what a scope allows:
  read   see workflows, runs and their costs
  run    read, and submit, cancel, retry and fork runs, replay deliveries and notifications, backfill schedules,
         and register agents
  write  read, and apply, roll back and delete workflows, and pause triggers
  admin  all of these, and keys, the audit log, and removing agents"""
_FEW: Final = 3
_KEY_ID: Final = identifier("[a-z2-7]{8}", "a key: see `flowyard keys list`")


@dataclass(frozen=True, kw_only=True)
class CreateKeyArgs(StackArgs):
    name: str
    scope: Sequence[Scope]
    workflow: Sequence[str] | None
    rate: int | None
    expires: datetime | None


@dataclass(frozen=True, kw_only=True)
class RotateKeyArgs(StackArgs):
    id: str
    overlap: timedelta
    expires: datetime | None


@dataclass(frozen=True, kw_only=True)
class RevokeKeyArgs(StackArgs):
    id: str


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    carry_out(parser, StackArgs, partial(at_the_stack, _list))
    actions = add_actions(parser)
    _add_create(add_action(actions, "create", "Create a key, and print it: it can't be shown again"))
    add_action(actions, "list", "All keys, and when each was last used")
    _add_rotate(add_action(actions, "rotate", "Give a key another secret, and print it: it can't be shown again"))
    revoke = add_action(actions, "revoke", "Make a key invalid, immediately")
    revoke.add_argument("id", metavar="ID", type=_KEY_ID, help="see `keys list`")
    carry_out(revoke, RevokeKeyArgs, partial(at_the_stack, _revoke))


def _add_create(create: argparse.ArgumentParser) -> None:
    create.add_argument("name", metavar="NAME", help="a name for the key, for people")
    create.add_argument(
        "--scope",
        choices=tuple(INCLUDES),
        action="append",
        required=True,
        help="read; run or write, which include read; admin, which includes all; may be given several times",
    )
    create.add_argument(
        "--workflow",
        metavar="NAME",
        action="append",
        help="a workflow that the key is for; may be given several times (default: all); not with the scope admin",
    )
    create.add_argument(
        "--rate",
        metavar="N",
        type=integer(1, MOST_PER_MINUTE),
        help="requests per minute, at all gateways together (default: no limit)",
    )
    _expires_option(create, default="never")
    carry_out(create, CreateKeyArgs, partial(at_the_stack, _create))


def _add_rotate(rotate: argparse.ArgumentParser) -> None:
    rotate.add_argument("id", metavar="ID", type=_KEY_ID, help="see `keys list`")
    rotate.add_argument(
        "--overlap",
        metavar="TIME",
        type=_duration,
        default=timedelta(days=1),
        help="for how long the old secret stays valid: 24h, 30m, 0s (default: 24h)",
    )
    _expires_option(rotate, default="as before")
    carry_out(rotate, RotateKeyArgs, partial(at_the_stack, _rotate))


def _expires_option(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument(
        "--expires",
        metavar="TIME",
        type=_end,
        help=f"when the key ends to be valid: 30d, 2026-12-31 (default: {default})",
    )


def _create(client: Client, args: CreateKeyArgs) -> int:
    key = client.create_key(
        KeyRequest(
            name=args.name,
            scopes=list(args.scope),
            workflows=list(args.workflow) if args.workflow else None,
            requests_per_minute=args.rate,
            expires=args.expires,
        )
    )
    return _show_new(key, args, f"the {'scope' if len(key.scopes) == 1 else 'scopes'} {', '.join(key.scopes)}")


def _rotate(client: Client, args: RotateKeyArgs) -> int:
    key = client.rotate_key(args.id, RotateRequest(overlap_s=args.overlap.total_seconds(), expires=args.expires))
    old = f"is valid until {when(key.old_secret_until)}" if key.old_secret_until else "is invalid now"
    return _show_new(key, args, f"a new secret; the old one {old}")


def _show_new(key: NewKeyView, args: StackArgs, what: str) -> int:
    if args.json:
        print_json(as_data(key))
    else:
        say(f"key '{key.name}' with the id {key.id} and {what}; it is shown only once:")
        put(key.key)
    return exits.OK


def _list(client: Client, args: StackArgs) -> int:
    columns = ("id", "name", "scopes", "workflows", "per minute", "created", "last used", "status")
    return print_items(client.keys(), columns, _row, as_json=args.json, empty="no keys")


def _row(key: KeyView) -> tuple[object, ...]:
    only = "all" if key.workflows is None else _shortened(key.workflows)
    used = ago(key.last_used_at) if key.last_used_at else "never"
    return (
        key.id, key.name, ", ".join(key.scopes), only, key.requests_per_minute, ago(key.created_at), used, _status(key),
    )  # fmt: skip


def _status(key: KeyView) -> str:
    if key.revoked_at:
        return f"revoked {ago(key.revoked_at)}"
    if key.expires_at and key.expires_at <= datetime.now(UTC):
        return f"expired {ago(key.expires_at)}"
    end = f"valid until {when(key.expires_at)}" if key.expires_at else "valid"
    return f"{end}, old secret until {when(key.old_secret_until)}" if key.old_secret_until else end


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")


def _revoke(client: Client, args: RevokeKeyArgs) -> int:
    key = client.revoke_key(args.id)
    if args.json:
        print_json(as_data(key))
    else:
        put(f"key '{key.name}' with the id {key.id} is revoked")
    return exits.OK


def _end(text: str) -> datetime:
    try:
        return moment_from_now(read_moment(text), datetime.now(UTC))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' {error}") from error


def _duration(text: str) -> timedelta:
    try:
        given = read_moment(text)
    except ValueError:
        given = None
    if isinstance(given, timedelta) and given.total_seconds() <= LONGEST_OVERLAP_S:
        return given
    raise argparse.ArgumentTypeError(f"'{text}' should be a duration such as 24h, 30m or 0s, of 90d at most")
