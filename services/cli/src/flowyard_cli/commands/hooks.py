"""`flowyard hooks send`: a webhook without the world."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Final, get_args
from uuid import UUID, uuid4

import httpx

from flowyard.api.client import Client
from flowyard.webhooks.request import HookRequest
from flowyard.webhooks.senders import Sender
from flowyard.webhooks.signing import SIGNERS
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, add_action, carry_out, stack_command
from flowyard_cli.remote.hooks import (
    content_type_of,
    read_pairs,
    read_payload_file,
    secrets_to_sign_with,
    send,
    trigger_at,
)
from flowyard_cli.remote.stack import at_the_stack
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard hooks send orders --payload order.json
  flowyard hooks send issues --payload opened.json --header X-GitHub-Event=issues
  flowyard hooks send chat --as slack --secret-env SLACK_SIGNING_SECRET --payload event.json
  echo 'From=%2B123&Body=hi' | flowyard hooks send sms --payload -

Who sends it, and with which secret, is what the trigger at PATH says, unless --as and --secret-env say it. The secret
is read from the environment of this command: it is no argument, since others could see that."""


@dataclass(frozen=True, kw_only=True)
class SendArgs(StackArgs):
    path: str
    payload: str
    sender: Sender | None
    secret_env: str | None
    header: Sequence[str]
    id: str | None
    signed_url: str | None


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    sending = add_action(actions, "send", "Sign a payload as its sender does, and send it to /hooks/PATH")
    sending.add_argument("path", metavar="PATH", help="the path of a webhook, after /hooks/")
    sending.add_argument("--payload", metavar="FILE", required=True, help="the body; - reads standard input")
    sending.add_argument("--as", dest="sender", choices=get_args(Sender), help="who sends it (default: as the trigger)")
    sending.add_argument("--secret-env", metavar="NAME", help="the environment variable with the secret to sign with")
    sending.add_argument("--header", metavar="NAME=VALUE", action="append", default=[], help="a header to add")
    sending.add_argument("--id", metavar="ID", help="the delivery's id, of senders that send one (default: a new one)")
    sending.add_argument(
        "--signed-url", metavar="URL", help="the address that is signed, if the gateway has another one"
    )
    carry_out(sending, SendArgs, partial(at_the_stack, _send))


def _send(client: Client, args: SendArgs) -> int:
    path = args.path.strip("/").removeprefix("hooks/")
    sender, secrets = _sender(client, args, path)
    body = read_payload_file(args.payload)
    url = f"{client.url.rstrip('/')}/hooks/{path}"
    headers = (("content-type", content_type_of(body)), *read_pairs("--header", args.header))
    request = HookRequest("POST", args.signed_url or url, headers, body)
    if sender is not None:
        request = SIGNERS[sender](
            request, secrets=secrets, now=datetime.now(UTC), delivery_id=args.id or f"msg-{uuid4()}"
        )
    elif args.id is not None:
        request = request.with_headers(("idempotency-key", args.id))
    # Twilio's signer may have added a parameter to what is signed.
    added = request.url.removeprefix(args.signed_url or url)
    response = send(replace(request, url=url), to=url + added)
    code = _show(response, args)
    failed = _failed(response)
    for delivery in failed:
        say(f"flowyard: {client.delivery(delivery).reason}")
    return exits.WRONG_INPUT if failed else code


def _sender(client: Client, args: SendArgs, path: str) -> tuple[Sender | None, tuple[str, ...]]:
    """None: nobody is verified."""
    if args.sender is not None and args.secret_env is not None:
        return args.sender, secrets_to_sign_with(args.sender, (), args.secret_env, os.environ)
    trigger = trigger_at(client, path)
    sender = args.sender or trigger.sender
    if sender is None or (trigger.open and args.secret_env is None):
        return None, ()
    return sender, secrets_to_sign_with(sender, trigger.secrets, args.secret_env, os.environ)


def _failed(response: httpx.Response) -> list[UUID]:
    """Deliveries that could not be mapped, although the sender gets 200, since sending them again would be useless."""
    body = response.json() if response.is_success and _is_json(response) else None
    results = body.get("deliveries", [body]) if isinstance(body, dict) else []
    return [UUID(result["delivery"]) for result in results if result.get("outcome") == "failed"]


def _is_json(response: httpx.Response) -> bool:
    return "json" in response.headers.get("content-type", "")


def _show(response: httpx.Response, args: StackArgs) -> int:
    if args.json:
        print_json({"status": response.status_code, "body": response.json() if _is_json(response) else response.text})
    else:
        say(f"{response.status_code} {response.reason_phrase}")
        if response.text:
            put(response.text)
    if response.is_success:
        return exits.OK
    is_stacks = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return (
        exits.STACK_FAILED if is_stacks or response.status_code == HTTPStatus.TOO_MANY_REQUESTS else exits.WRONG_INPUT
    )
