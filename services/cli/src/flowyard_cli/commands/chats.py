"""`flowyard chats`: the conversations of one's own API key with workflows."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from flowyard.api.chat import LONGEST_TITLE, SessionView, TurnView
from flowyard.api.client import Client
from flowyard.openai_api.history import answer_message
from flowyard.openai_api.requests import text_of
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
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.format import dollars, tokens
from flowyard_cli.show.tables import NONE, ago, as_data, print_items
from flowyard_embedded.streams import print_json, put

_EXAMPLES: Final = """\
  flowyard chats                        your conversations, the newest first
  flowyard chats show 0197c1f2-…        what was said
  flowyard chats rename 0197c1f2-… Trip  give it a title
  flowyard chats delete 0197c1f2-…      forget it; its runs are kept as others are"""
_SHOWN: Final = 60
"""Characters of a title in a list."""
_ID: Final = identifier("[0-9A-Fa-f-]{32,36}", "a conversation: see `flowyard chats`")


@dataclass(frozen=True, kw_only=True)
class ListChatsArgs(StackArgs):
    workflow: str | None
    limit: int | None


@dataclass(frozen=True, kw_only=True)
class ChatArgs(StackArgs):
    id: str


@dataclass(frozen=True, kw_only=True)
class RenameChatArgs(ChatArgs):
    title: str


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    _list_options(parser)
    parser.set_defaults(workflow=None, limit=DEFAULT_LIMIT)
    actions = add_actions(parser)
    _list_options(add_action(actions, "list", "Your conversations, the newest first"))
    for name, summary, work in (
        ("show", "What was said in a conversation, with the runs that have answered", _show),
        ("delete", "Forget a conversation: it is neither listed nor continued any more", _delete),
    ):
        action = add_action(actions, name, summary)
        action.add_argument("id", metavar="ID", type=_ID, help="see `chats list`")
        carry_out(action, ChatArgs, partial(at_the_stack, work))
    rename = add_action(actions, "rename", "Give a conversation a title, by which lists show it")
    rename.add_argument("id", metavar="ID", type=_ID, help="see `chats list`")
    rename.add_argument(
        "title", metavar="TITLE", type=_title, help="an empty one: none of its own, so that lists show its beginning"
    )
    carry_out(rename, RenameChatArgs, partial(at_the_stack, _rename))
    carry_out(parser, ListChatsArgs, partial(at_the_stack, _list))


def _title(text: str) -> str:
    if len(text) > LONGEST_TITLE or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a title has at most {LONGEST_TITLE} characters, in one line")
    return text


def _list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workflow", metavar="NAME", default=argparse.SUPPRESS, help="only those with this workflow")
    limit_option(parser)


def _list(client: Client, args: ListChatsArgs) -> int:
    sessions = client.chat_sessions(workflow=args.workflow, most=args.limit)
    columns = ("chat", "workflow", "title", "turns", "tokens", "cost", "last used")
    return print_items(sessions, columns, _row, as_json=args.json, empty="no conversations")


def _row(session: SessionView) -> tuple[object, ...]:
    spent = session.spending
    used = None if spent.tokens_in is None or spent.tokens_out is None else spent.tokens_in + spent.tokens_out
    cost = dollars(spent.cost_usd) if spent.cost_usd is not None else NONE
    title = (session.title or session.opening or session.name)[:_SHOWN]
    return session.id, session.workflow, title, session.turns, tokens(used, 0), cost, ago(session.used_at)


def _show(client: Client, args: ChatArgs) -> int:
    turns = list(client.chat_turns(UUID(args.id)))
    if args.json:
        print_json({"items": [as_data(turn) for turn in turns]})
        return exits.OK
    for turn in turns:
        for line in _lines(turn):
            put(line)
    return exits.OK


def _lines(turn: TurnView) -> list[str]:
    answer = answer_message(turn.answer)
    said = [f"{message.get('role')}: {text_of(message)}" for message in turn.messages]
    reply = _reply(answer) if answer is not None else f"({turn.status})"
    replaces = f"; replaces turn {turn.replaces} and those after it" if turn.replaces is not None else ""
    return [*said, f"{reply}  [run {turn.run_id}{replaces}]"]


def _reply(answer: dict[str, Any]) -> str:
    calls = answer.get("tool_calls")
    return f"assistant: {text_of(answer)}" + (f" {json.dumps(calls, ensure_ascii=False)}" if calls else "")


def _rename(client: Client, args: RenameChatArgs) -> int:
    session = client.rename_chat_session(UUID(args.id), args.title or None)
    if args.json:
        print_json(as_data(session))
    else:
        put(f"{session.id}: {session.title or 'no title'}")
    return exits.OK


def _delete(client: Client, args: ChatArgs) -> int:
    session = client.delete_chat_session(UUID(args.id))
    if args.json:
        print_json(as_data(session))
    else:
        put(f"{session.id}: forgotten")
    return exits.OK
