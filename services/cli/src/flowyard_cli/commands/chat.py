"""`flowyard chat`: talks to a chat workflow of the stack."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowyard.api.answering import chat_workflow, chat_workflows
from flowyard.api.client import Client
from flowyard.api.refusals import Refused
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs, UnknownModel
from flowyard.language.problems import did_you_mean
from flowyard.openai_api.requests import LONGEST_SESSION
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, carry_out, stack_command
from flowyard_cli.reading import read_bytes
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.talking.conversation import TerminalChat
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard chat                                     the workflows that can be talked to
  flowyard chat support                             talk to one, until Ctrl-D
  flowyard chat support -m 'Where is my order?'     one message; prints the answer
  flowyard chat support < letter.txt                all of standard input is one message
  flowyard chat support --session 0197c1f2-…        go on with a conversation; flowyard chats lists them
  flowyard chat --new --model openai/gpt-5          write a workflow by talking with the assistant

Ctrl-C while an answer comes cancels its run; at the prompt it leaves. /help shows the commands. The answer is written
to standard output; what it took and errors go to standard error.

With --new you say what a workflow should do, and see each version: its graph, what has changed, what a run costs at
most, its tests. Nothing is applied before /apply. --model is needed only if the stack has no assistant yet."""
_LONGEST_MESSAGE: Final = 8_000_000
"""Bytes that are read of standard input."""


@dataclass(frozen=True, kw_only=True)
class TalkArgs(StackArgs):
    """`name`: None lists the chat workflows. `message`: None: what is typed, or standard input.

    `new`: a workflow is written with the assistant; `model`: of the assistant.
    """

    name: str | None
    message: str | None
    session: str | None
    quiet: bool
    new: bool
    model: str | None


class NoChatWorkflow(FlowyardError, code=UnknownModel.code):
    """No workflow of this name can be talked to."""

    def __init__(self, name: str, *, is_workflow: bool, known: Iterable[str]) -> None:
        hint = did_you_mean(name, known)
        if is_workflow:
            text = f"workflow '{name}' has no chat trigger that is live: it can be run, not talked to"
        else:
            text = f"no chat workflow '{name}'" + (f" ({hint})" if hint else "; flowyard chat lists them")
        super().__init__(text)


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.add_argument("name", metavar="NAME", nargs="?", help="a workflow with a chat trigger")
    parser.add_argument("-m", "--message", metavar="TEXT", help="send only this message, and print the answer")
    parser.add_argument(
        "--session", metavar="S", type=_session, help="the name or id of the conversation (default: a new one)"
    )
    parser.add_argument("--new", action="store_true", help="write a workflow by talking with the assistant")
    parser.add_argument("--model", metavar="PROVIDER/MODEL", help="with --new: the model of the assistant; it is kept")
    parser.add_argument("--quiet", action="store_true", help="print nothing but answers and errors")
    carry_out(parser, TalkArgs, partial(at_the_stack, talk))


def _session(text: str) -> str:
    if 0 < len(text) <= LONGEST_SESSION and text.isprintable() and text.isascii():
        return text
    raise argparse.ArgumentTypeError(f"should have 1 to {LONGEST_SESSION} printable characters of ASCII")


def talk(client: Client, args: TalkArgs) -> int:
    if args.new:
        return _write(client, args)
    if args.model is not None:
        raise InvalidInputs(["--model is for --new: other workflows have their models in their documents"])
    if args.name is None:
        if args.message is not None or args.session is not None:
            raise InvalidInputs(["which workflow? flowyard chat lists those that can be talked to"])
        return _list(client, args)
    text = _message(args)
    _check(client, args.name)
    chat = TerminalChat(
        client=client, args=args, workflow=args.name, session=args.session, quiet=args.quiet, words=("chat", args.name)
    )
    return chat.go_on() if text is None else chat.say_once(text)


def _write(client: Client, args: TalkArgs) -> int:
    # Inline: what drafts need takes 0.2 s to import.
    from flowyard.drafts.assistant import NAME  # noqa: PLC0415
    from flowyard_cli.talking.drafts import chat_of_drafts, prepare_assistant  # noqa: PLC0415

    if args.name not in (None, NAME):
        raise InvalidInputs([f"--new talks with the workflow {NAME}: leave the name out"])
    text = _message(args)
    prepare_assistant(client, args.model)
    chat = chat_of_drafts(client, args, session=args.session, quiet=args.quiet)
    return chat.go_on() if text is None else chat.say_once(text)


def _message(args: TalkArgs) -> str | None:
    """The only message; None: they are typed. Raises InvalidInputs."""
    if args.message is None and sys.stdin.isatty():
        if args.json:
            raise InvalidInputs(["--json prints one answer: give the message with -m, or by standard input"])
        return None
    text = args.message if args.message is not None else _from_stdin()
    if not text.strip():
        raise InvalidInputs(["the message is empty"])
    return text


def _from_stdin() -> str:
    content = read_bytes("-", _LONGEST_MESSAGE + 1)
    if len(content) > _LONGEST_MESSAGE:
        raise InvalidInputs([f"the message has more than {_LONGEST_MESSAGE:,} bytes"])
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputs([f"the message isn't UTF-8: byte {error.start + 1}"]) from error


def _check(client: Client, name: str) -> None:
    """Raises NoChatWorkflow."""
    try:
        chat_workflow(client, name)
    except Refused as error:
        if error.code != UnknownModel.code:
            raise
        raise NoChatWorkflow(name, is_workflow=_is_workflow(client, name), known=chat_workflows(client)) from error


def _is_workflow(client: Client, name: str) -> bool:
    try:
        client.workflow(name)
    except Refused:
        return False
    return True


def _list(client: Client, args: TalkArgs) -> int:
    names = chat_workflows(client)
    if args.json:
        print_json({"items": [{"name": name} for name in names]})
        return exits.OK
    for name in names:
        put(name)
    if names:
        say(f"to talk to one: flowyard chat {names[0]}")
    else:
        put("no workflow can be talked to: give one a chat trigger (see docs/chat.md), and apply it")
    return exits.OK
