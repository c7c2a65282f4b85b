"""`flowyard notifications`: shows what is sent when runs have ended, sends it again, and enables its receivers."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from flowyard.api.client import Client
from flowyard.api.notifications import NotificationView, ReceiverView
from flowyard.errors.base import FlowyardError
from flowyard.runs.notifications import NOTIFICATION_ID, STATES, NotificationId, NotificationState
from flowyard_cli import exits
from flowyard_cli.grammar import (
    DEFAULT_LIMIT,
    StackArgs,
    add_action,
    add_actions,
    carry_out,
    identifier,
    limit_option,
    stack_command,
)
from flowyard_cli.remote.ids import find_run
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.format import plural
from flowyard_cli.show.tables import ago, as_data, print_facts, print_items, print_table, when
from flowyard_embedded.stack.keys import SIGNING_VARIABLE
from flowyard_embedded.stack.place import find_place
from flowyard_embedded.streams import print_json, put

_EXAMPLES: Final = """\
  flowyard notifications list --state failed
  flowyard notifications receivers
  flowyard notifications show 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20-6-0
  flowyard notifications replay 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20-6-0
  flowyard notifications enable 4f1d2c7e90ab3856
  flowyard notifications replay 4f1d2c7e90ab3856

A notification tells a receiver (`on_finish` in a document, --on-finish of `flowyard run`) how a run has ended. A
receiver that has answered 410, or has accepted nothing in days, is disabled until you enable it."""

_RECEIVER: Final = "[0-9a-f]{16}"
_RECEIVER_ID: Final = identifier(_RECEIVER, "a receiver: see `flowyard notifications receivers`")
_EITHER_ID: Final = identifier(f"{NOTIFICATION_ID}|{_RECEIVER}", "a notification: see `flowyard notifications list`")


@dataclass(frozen=True, kw_only=True)
class ListNotificationsArgs(StackArgs):
    receiver: str | None
    run: str | None
    state: NotificationState | None
    limit: int


@dataclass(frozen=True, kw_only=True)
class NotificationArgs(StackArgs):
    """`id`: of a notification or a receiver."""

    id: str


class NoWebhookSecret(FlowyardError, code="missing_webhook_secret"):
    """This machine doesn't know the secret that signs notifications."""

    def __init__(self) -> None:
        super().__init__(
            f"no secret here: no stack was started in this data directory, and {SIGNING_VARIABLE} isn't set"
        )


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.set_defaults(receiver=None, run=None, state=None, limit=DEFAULT_LIMIT)
    carry_out(parser, ListNotificationsArgs, partial(at_the_stack, _list))
    actions = add_actions(parser)
    listed = add_action(actions, "list", "Notifications, of the newest runs first")
    listed.add_argument(
        "--receiver", metavar="ID", type=_RECEIVER_ID, default=argparse.SUPPRESS, help="only those for this receiver"
    )
    listed.add_argument("--run", metavar="ID", default=argparse.SUPPRESS, help="only those of this run")
    listed.add_argument("--state", choices=STATES, default=argparse.SUPPRESS, help="only those in this state")
    limit_option(listed)
    receivers = add_action(actions, "receivers", "Where notifications are sent, and how that goes")
    carry_out(receivers, StackArgs, partial(at_the_stack, _receivers))
    shown = add_action(actions, "show", "A notification with its last tries, or a receiver")
    _id_argument(shown)
    carry_out(shown, NotificationArgs, partial(at_the_stack, _show))
    replay = add_action(actions, "replay", "Send a notification again, or all of a receiver that have failed")
    _id_argument(replay)
    carry_out(replay, NotificationArgs, partial(at_the_stack, _replay))
    enable = add_action(actions, "enable", "Send to a disabled receiver again, at first what waits for it")
    enable.add_argument("id", metavar="ID", type=_RECEIVER_ID, help="see `notifications receivers`")
    carry_out(enable, NotificationArgs, partial(at_the_stack, _enable))
    secret = add_action(actions, "secret", "Print the secret that signs for receivers of --on-finish")
    carry_out(secret, StackArgs, _secret)


def _id_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=_EITHER_ID, help="of a notification, or of a receiver")


def _list(client: Client, args: ListNotificationsArgs) -> int:
    run_id = find_run(client, args.run) if args.run else None
    items = client.notifications(receiver=args.receiver, run_id=run_id, state=args.state, most=args.limit)
    columns = ("id", "workflow", "run", "state", "tries", "next try", "receiver", "url")
    return print_items(items, columns, _row, as_json=args.json, empty="no notifications")


def _row(each: NotificationView) -> tuple[object, ...]:
    return (
        each.id, each.workflow, each.run_status, each.state, each.tries, when(each.next_at), each.receiver, each.url,
    )  # fmt: skip


def _receivers(client: Client, args: StackArgs) -> int:
    columns = ("id", "workflow", "state", "waiting", "accepted", "last failure", "url")
    return print_items(client.receivers(), columns, _receiver_row, as_json=args.json, empty="no receivers")


def _receiver_row(each: ReceiverView) -> tuple[object, ...]:
    failure = each.last_failure if each.failing_since else None
    return each.id, each.workflow, _state(each), each.waiting, ago(each.accepted_at), failure, each.url


def _state(receiver: ReceiverView) -> str:
    if receiver.disabled_at is not None:
        return f"disabled: {receiver.why_disabled}"
    return f"failing: first {ago(receiver.failing_since)}" if receiver.failing_since else "good"


def _show(client: Client, args: NotificationArgs) -> int:
    if NotificationId.parse(args.id) is None:
        return _show_receiver(client.receiver(args.id), args)
    each = client.notification(args.id)
    if args.json:
        print_json(as_data(each))
        return exits.OK
    print_facts((
        ("id", each.id), ("run", each.run_id), ("workflow", each.workflow), ("the run", each.run_status),
        ("ended", when(each.finished_at)), ("receiver", each.receiver), ("url", each.url), ("state", each.state),
        ("tries", each.tries), ("next try", when(each.next_at) if each.next_at else None),
    ))  # fmt: skip
    put("")
    rows = ((when(t.at), f"{t.duration_s:.2f} s", t.status, t.failure or "accepted") for t in each.answers)
    print_table(("tried", "duration", "answer", "outcome"), rows, empty="not tried yet")
    return exits.OK


def _show_receiver(each: ReceiverView, args: StackArgs) -> int:
    if args.json:
        print_json(as_data(each))
        return exits.OK
    print_facts((
        ("id", each.id), ("workflow", each.workflow), ("url", each.url), ("state", _state(each)),
        ("waiting", each.waiting), ("last tried", ago(each.tried_at)), ("last accepted", ago(each.accepted_at)),
        ("last failure", each.last_failure),
    ))  # fmt: skip
    return exits.OK


def _replay(client: Client, args: NotificationArgs) -> int:
    if NotificationId.parse(args.id) is None:
        replayed = client.replay_receiver(args.id)
        return _print(args, replayed, f"{plural(replayed.count, 'notification')} that had failed: sent again")
    notification = client.replay_notification(args.id)
    return _print(args, notification, f"{notification.id} is sent again")


def _enable(client: Client, args: NotificationArgs) -> int:
    receiver = client.enable_receiver(args.id)
    waiting = plural(receiver.waiting, "notification")
    return _print(args, receiver, f"{receiver.id} is enabled, and gets what waits for it: {waiting}")


def _print(args: StackArgs, answer: BaseModel, text: str) -> int:
    if args.json:
        print_json(as_data(answer))
    else:
        put(text)
    return exits.OK


def _secret(args: StackArgs) -> int:
    secret = _known_secret(args)
    if args.json:
        print_json({"secret": secret})
    else:
        put(secret)
    return exits.OK


def _known_secret(args: StackArgs) -> str:
    """Raises NoWebhookSecret."""
    if given := os.environ.get(SIGNING_VARIABLE):
        return given.strip()
    named = os.environ.get(f"{SIGNING_VARIABLE}_FILE")
    file = Path(named) if named else find_place(args.data, os.environ).webhook_secret
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NoWebhookSecret from error
