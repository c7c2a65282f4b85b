"""`flowyard logs`: the log lines of the services, and the events of a run among them, ordered by time."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from flowyard.api.client import Client
from flowyard.api.history import EventView
from flowyard.api.refusals import Unreachable
from flowyard.errors.requests import UnknownRun
from flowyard.language.problems import did_you_mean
from flowyard_cli import exits
from flowyard_cli.grammar import DEFAULT_LIMIT, StackArgs, carry_out, integer, stack_command
from flowyard_cli.logs.compose import ContainerLogs
from flowyard_cli.logs.events import NAME as EVENTS
from flowyard_cli.logs.events import line_of
from flowyard_cli.logs.files import LogFiles
from flowyard_cli.logs.following import Feed, follow_all
from flowyard_cli.logs.line import LEVELS, LineFilter, LogLine, NoLogs, OnLine, Source, in_order
from flowyard_cli.logs.printing import LinePrinter
from flowyard_cli.remote.address import URL, own_place
from flowyard_cli.remote.ids import find_run
from flowyard_cli.remote.stack import at_the_stack
from flowyard_embedded.stack.place import Place, find_place
from flowyard_embedded.streams import say

PROJECT: Final = "COMPOSE_PROJECT_NAME"
LAST: Final = "last"
_EXAMPLES: Final = """\
  flowyard logs
  flowyard logs --service executor --level warning --follow
  flowyard logs 019adf3c
  flowyard logs last --follow
  flowyard logs last --compose            of a stack in containers, in the directory of its docker-compose.yml

With RUN: the events of the run, and the lines of all services about it, ordered by time; with --follow, up to its
end. Logs are read on this machine: from the directory of `flowyard up`, or, with --compose or COMPOSE_PROJECT_NAME,
by docker compose."""


@dataclass(frozen=True, kw_only=True)
class LogsArgs(StackArgs):
    """`run`: an id, its beginning, or `last`. `lines`: without `run`. `compose`: a project; empty: the default one."""

    run: str | None
    follow: bool
    level: str
    service: str | None
    lines: int
    compose: str | None


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.add_argument("run", metavar="RUN", nargs="?", help="an id, the beginning of an id, or: last")
    parser.add_argument("--follow", action="store_true", help="also show new lines as they come")
    parser.add_argument("--level", choices=LEVELS, default="info", help="the lowest level to show (default: info)")
    parser.add_argument("--service", metavar="NAME", help="only this service: gateway, executor, executor-2, events, …")
    parser.add_argument(
        "--lines",
        metavar="N",
        type=integer(1, 100_000),
        default=DEFAULT_LIMIT,
        help=f"how many lines, without RUN (default: {DEFAULT_LIMIT})",
    )
    parser.add_argument(
        "--compose", metavar="PROJECT", nargs="?", const="", help="read the logs of containers, of this Compose project"
    )
    carry_out(parser, LogsArgs, execute)


def execute(args: LogsArgs) -> int:
    return at_the_stack(_of_run, args) if args.run is not None else _of_all(args)


def _of_all(args: LogsArgs) -> int:
    """Shows the newest lines of all services. Needs no gateway: its failure may be what the user looks for."""
    url = args.url or (None if args.data else os.environ.get(URL))
    place = own_place(url.rstrip("/"), args.data, os.environ) if url else find_place(args.data, os.environ)
    source = _source(args, place)
    if source is None:
        raise NoLogs(
            "there are none on this machine: name their directory with --data, or their containers with --compose"
        )
    line_filter = LineFilter(None, args.level, args.service)
    printer = LinePrinter(as_json=args.json, single_run=False)
    lines = in_order(source.newest(line_filter, args.lines))
    _check_service(args.service, source.names, lines)
    printer.show(lines[-args.lines :])
    return _follow([partial(source.follow, line_filter)], None, printer) if args.follow else exits.OK


def _of_run(client: Client, args: LogsArgs) -> int:
    run_id = _run(client, args.run or LAST)
    line_filter = LineFilter(run_id, args.level, args.service)
    printer = LinePrinter(as_json=args.json, single_run=True)
    source = _source(args, own_place(client.url, args.data, os.environ))
    if source is None:
        say(f"flowyard: only the events of the run: the logs of {client.url} aren't on this machine (see --compose)")
    events = _events(client, run_id, is_alone=source is None)
    event_lines = [line_of(event, run_id) for event in events]
    log_lines = source.newest(line_filter, None) if source else ()
    lines = in_order([*filter(line_filter.matches, event_lines), *log_lines])
    _check_service(args.service, {EVENTS, *(source.names if source else ())}, lines)
    printer.show(lines)
    if not args.follow:
        return exits.OK
    after = events[-1].seq if events else 0
    logs: list[Feed] = [partial(source.follow, line_filter)] if source else []
    return _follow(logs, partial(_follow_events, client, run_id, line_filter, after), printer)


def _source(args: LogsArgs, place: Place | None) -> Source | None:
    if args.compose is not None:
        return ContainerLogs(args.compose)
    if place is not None and place.logs.is_dir():
        return LogFiles(place.logs)
    return ContainerLogs("") if os.environ.get(PROJECT) else None


def _check_service(name: str | None, names: Set[str], lines: Sequence[LogLine]) -> None:
    """Raises NoLogs if no service has this name: a misspelt name would look like a service that is silent."""
    known = sorted({*names, *(process.rstrip("0123456789").removesuffix("-") for process in names)})
    if name is None or lines or name in known:
        return
    hint = did_you_mean(name, known)
    raise NoLogs(
        f"no service has the name '{name}'" + (f" ({hint})" if hint else f"; the names are {', '.join(known)}")
    )


def _run(client: Client, text: str) -> UUID:
    """The id of the run, or of the newest run. Raises what `find_run` raises."""
    if text != LAST:
        return find_run(client, text)
    newest = next(client.runs(most=1), None)
    if newest is None:
        raise UnknownRun(LAST, hint="there are no runs yet")
    return newest.id


def _events(client: Client, run_id: UUID, *, is_alone: bool) -> list[EventView]:
    """Raises Unreachable if there is nothing else to show."""
    try:
        return list(client.events(run_id))
    except Unreachable as error:
        if is_alone:
            raise
        say(f"flowyard: {error.message}: only the log lines of its services are shown")
        return []


def _follow_events(
    client: Client, run_id: UUID, line_filter: LineFilter, after: int, on_line: OnLine, _stop: threading.Event
) -> None:
    for message in client.follow(run_id, after=after, tokens=False):
        if isinstance(message, EventView) and line_filter.matches(line := line_of(message, run_id)):
            on_line(line)


def _follow(endless: list[Feed], ends: Feed | None, printer: LinePrinter) -> int:
    try:
        follow_all(endless, ends, printer.show)
    except KeyboardInterrupt:
        return exits.CANCELLED
    return exits.OK
