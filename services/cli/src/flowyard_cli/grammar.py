"""What the options of several commands have in common, and how a command gets its arguments.

An argparse.Namespace stays here and in `main`: each command gets a frozen dataclass of its own.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias, TypeVar, cast

from flowyard.api.moments import read_moment

Args = TypeVar("Args")
# argparse has no public names for these.
Options: TypeAlias = "argparse._ActionsContainer"  # noqa: SLF001
Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001

DEFAULT_LIMIT: Final = 50
_MOST_LISTED: Final = 100_000
_STACK: Final = """

The stack is the one that `flowyard up` has started here, or the one at --url or FLOWYARD_URL, with the key in
FLOWYARD_API_KEY."""


@dataclass(frozen=True, kw_only=True)
class StackArgs:
    """The options of every command for a running stack. `url`, `data`: where the stack is; None: find it."""

    url: str | None
    data: str | None
    json: bool


@dataclass(frozen=True, kw_only=True)
class WatchArgs(StackArgs):
    """The options of commands that show the progress of a run. `stream`: print replies word by word."""

    stream: bool


def carry_out(parser: argparse.ArgumentParser, kind: type[Args], work: Callable[[Args], int]) -> None:
    """Makes `work` what the command does. It gets the arguments as a `kind`, and returns the exit code."""
    parser.set_defaults(kind=kind, work=work)


def arguments(kind: type[Args], namespace: argparse.Namespace) -> Args:
    """The dataclass `kind`, with the values of the options that have the names of its fields."""
    return kind(**{field.name: getattr(namespace, field.name) for field in fields(cast(Any, kind))})


def examples(parser: argparse.ArgumentParser, text: str) -> None:
    parser.epilog = f"examples:\n{text}"


def stack_command(parser: argparse.ArgumentParser, text: str) -> None:
    """Adds what all commands for a running stack have. `text`: examples."""
    examples(parser, text + _STACK)
    _stack_options(parser)
    parser.set_defaults(url=None, data=None, json=False)


def add_actions(parser: argparse.ArgumentParser) -> Actions:
    return parser.add_subparsers(dest="action", metavar="ACTION", title="actions (list if left out)")


def add_action(actions: Actions, name: str, summary: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=summary[0].lower() + summary[1:], description=f"{summary}.")
    _stack_options(parser)
    return parser


def where_options(parser: Options) -> None:
    # Without defaults: else those of an action would replace what stands before its name (`runs --url … list`).
    missing = argparse.SUPPRESS
    parser.add_argument("--url", metavar="URL", default=missing, help="address of the gateway (default: $FLOWYARD_URL)")
    parser.add_argument(
        "--data", metavar="DIR", default=missing, help="data directory of the stack (see `flowyard up`)"
    )


def _stack_options(parser: argparse.ArgumentParser) -> None:
    where_options(parser)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")


def data_option(parser: Options) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="data directory (default: $FLOWYARD_DATA, or ~/.local/share/flowyard; for root: /var/lib/flowyard)",
    )


def files_argument(parser: Options) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="workflows; - reads standard input")


def run_argument(parser: Options) -> None:
    parser.add_argument("run", metavar="ID", help="the id of a run, or its first six or more characters")


def stream_option(parser: Options) -> None:
    parser.add_argument("--stream", action="store_true", help="print replies word by word as they come")


def follow_options(parser: Options) -> None:
    parser.add_argument("--follow", action="store_true", help="show its progress, and its result")
    stream_option(parser)


def limit_option(parser: Options) -> None:
    """Adds the limit of a list. The default stands at the group, which is also a list without an action."""
    parser.add_argument(
        "--limit",
        metavar="N",
        type=integer(1, _MOST_LISTED),
        default=argparse.SUPPRESS,
        help=f"how many to show at most (default: {DEFAULT_LIMIT})",
    )


def report_options(parser: Options, *, since: str, items: str, limit: int) -> None:
    """`since`: what the time limits. `items`: what is counted; `limit`: how many by default."""
    parser.add_argument("--since", metavar="TIME", type=_moment, default="7d", help=f"{since} (default: 7d)")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=integer(1, 1000),
        default=limit,
        help=f"how many {items} at most (default: {limit})",
    )


def integer(least: int, most: int) -> Callable[[str], int]:
    """The type of an option: an integer between these, both included."""

    def read(text: str) -> int:
        if text.isascii() and text.removeprefix("-").isdecimal() and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"should be a number from {least} to {most}, not '{text}'")

    return read


def identifier(pattern: str, what: str) -> Callable[[str], str]:
    """The type of an option: an id. `what`: whose it is, and which command lists them.

    The message doesn't repeat the text: it could be a whole API key.
    """

    def read(text: str) -> str:
        if re.fullmatch(pattern, text):
            return text
        raise argparse.ArgumentTypeError(f"should be the id of {what}")

    return read


def decimal(what: str, *, most: float) -> Callable[[str], float]:
    """The type of an option: a number from 0 to `most`. `what`: for the message."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if 0 <= value <= most:
            return value
        raise argparse.ArgumentTypeError(f"should be {what} from 0 to {most:g}, not '{text}'")

    return read


def _moment(text: str) -> str:
    try:
        read_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' {error}") from error
    return text
