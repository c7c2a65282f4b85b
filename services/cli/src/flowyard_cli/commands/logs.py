"""`flowyard logs`: what the services have written, and what happened in a run, in one order."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Sequence, Set
from functools import partial
from typing import Final
from uuid import UUID

from flowyard.api.client import Client
from flowyard.api.history import EventView
from flowyard.api.refusals import Unreachable
from flowyard.errors import UnknownRun
from flowyard.language.problems import did_you_mean
from flowyard_cli import exits
from flowyard_cli.logs.compose import Compose
from flowyard_cli.logs.events import NAME as EVENTS
from flowyard_cli.logs.events import line_of
from flowyard_cli.logs.files import Files
from flowyard_cli.logs.following import Work, follow_all
from flowyard_cli.logs.line import Line, Wanted, in_order
from flowyard_cli.logs.showing import Shown
from flowyard_cli.logs.source import Hear, NoLogs, Source
from flowyard_cli.remote.address import URL, own_place
from flowyard_cli.remote.ids import find_run
from flowyard_cli.remote.stack import at_the_stack
from flowyard_embedded.stack.place import Place, find_place
from flowyard_embedded.streams import say

PROJECT: Final = "COMPOSE_PROJECT_NAME"
LAST: Final = "last"


def execute(args: argparse.Namespace) -> int:
    """`args`: run, follow, level, service, lines, compose."""
    return at_the_stack(args, _of_run) if args.run is not None else _of_all(args)


def _of_all(args: argparse.Namespace) -> int:
    """Of all services: their newest lines. This asks no gateway: it may be what one has to look into."""
    url = args.url or (None if args.data else os.environ.get(URL))
    place = own_place(url.rstrip("/"), args.data, os.environ) if url else find_place(args.data, os.environ)
    source = _source(args, place)
    if source is None:
        raise NoLogs("there are none on this machine: name its directory by --data, or its containers by --compose")
    wanted = Wanted(None, args.level, args.service)
    shown = Shown(as_json=args.json, of_one_run=False)
    found = in_order(source.newest(wanted, args.lines))
    _check_service(args.service, source.names, found)
    shown.show(found[-args.lines :])
    return _follow([partial(source.follow, wanted)], None, shown) if args.follow else exits.OK


def _of_run(client: Client, args: argparse.Namespace) -> int:
    run_id = _run(client, args.run)
    wanted = Wanted(run_id, args.level, args.service)
    shown = Shown(as_json=args.json, of_one_run=True)
    source = _source(args, own_place(client.url, args.data, os.environ))
    if source is None:
        say(f"flowyard: only what happened in the run: the logs of {client.url} aren't on this machine (see --compose)")
    events = _events(client, run_id, is_alone=source is None)
    lines = [line_of(event, run_id) for event in events]
    told = source.newest(wanted, None) if source else ()
    found = in_order([*filter(wanted.wants, lines), *told])
    _check_service(args.service, {EVENTS, *(source.names if source else ())}, found)
    shown.show(found)
    if not args.follow:
        return exits.OK
    after = events[-1].seq if events else 0
    beside: list[Work] = [partial(source.follow, wanted)] if source else []
    return _follow(beside, partial(_tell_events, client, run_id, wanted, after), shown)


def _source(args: argparse.Namespace, place: Place | None) -> Source | None:
    if args.compose is not None:
        return Compose(args.compose)
    if place is not None and place.logs.is_dir():
        return Files(place.logs)
    return Compose("") if os.environ.get(PROJECT) else None


def _check_service(name: str | None, names: Set[str], found: Sequence[Line]) -> None:
    """Raises NoLogs where nobody has this name: else a misspelt one looks like silence."""
    known = sorted({*names, *(process.rstrip("0123456789").removesuffix("-") for process in names)})
    if name is None or found or name in known:
        return
    hint = did_you_mean(name, known)
    raise NoLogs(f"nothing here has the name '{name}'" + (f" ({hint})" if hint else f"; known are {', '.join(known)}"))


def _run(client: Client, text: str) -> UUID:
    """Raises as `find_run`."""
    if text != LAST:
        return find_run(client, text)
    newest = next(client.runs(most=1), None)
    if newest is None:
        raise UnknownRun(LAST, hint="there are no runs yet")
    return newest.id


def _events(client: Client, run_id: UUID, *, is_alone: bool) -> list[EventView]:
    """Raises Unreachable if there is nothing else to be shown."""
    try:
        return list(client.events(run_id))
    except Unreachable as error:
        if is_alone:
            raise
        say(f"flowyard: {error.message}: only what its services have written is shown")
        return []


def _tell_events(client: Client, run_id: UUID, wanted: Wanted, after: int, hear: Hear, _stop: threading.Event) -> None:
    for heard in client.follow(run_id, after=after):
        if isinstance(heard, EventView) and wanted.wants(line := line_of(heard, run_id)):
            hear(line)


def _follow(endless: list[Work], ends: Work | None, shown: Shown) -> int:
    try:
        follow_all(endless, ends, shown.show)
    except KeyboardInterrupt:
        return exits.CANCELLED
    return exits.OK
