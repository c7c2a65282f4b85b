"""`flowyard up`: the whole stack on this machine, supervised from this process or from one in the background."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final

from flowyard.errors.base import FlowyardError
from flowyard_cli import exits
from flowyard_cli.grammar import carry_out, data_option, examples, integer
from flowyard_cli.show.format import plural
from flowyard_embedded.faults import ServerRunning
from flowyard_embedded.stack.cores import MOST_EXECUTORS, MOST_SANDBOXES, executors_for, usable_cores
from flowyard_embedded.stack.place import Place, find_place, take
from flowyard_embedded.stack.services import Services, our_services
from flowyard_embedded.stack.start import StackOptions
from flowyard_embedded.stack.state import read_state
from flowyard_embedded.stack.up import in_background, live
from flowyard_embedded.streams import put, say

_EXAMPLES: Final = """\
  flowyard up
  flowyard up --detach
  flowyard up --data ./data --port 9400 --executors 4
  FLOWYARD_DATABASE_URL=postgresql://… flowyard up    on an existing Postgres

The first start creates an API key, shows it once, and stores it for the commands of flowyard. Everything
listens on 127.0.0.1. FLOWYARD_DATABASE_URL and FLOWYARD_NATS_URL are servers to use instead of new ones.
The logs of each service are in DIR/logs. Ctrl-C stops everything in order; a second Ctrl-C kills it."""
_DEFAULT_PORT: Final = 8400
_AUTO: Final = "auto"


@dataclass(frozen=True)
class UpArgs:
    """`executors`, `port`: None where the option was left out."""

    data: str | None
    executors: int | None
    sandboxes: int
    port: int | None
    detach: bool
    json_logs: bool


class RunningOtherwise(FlowyardError, code="running_otherwise"):
    """A stack runs already, with other options than those of this command."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__(f"it runs with {' and '.join(differences)}: stop it first, with `flowyard down`")


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    data_option(parser)
    parser.add_argument(
        "--executors",
        metavar="N",
        type=_executors,
        help="number of executor processes (default: auto, one less than the cores that can be used)",
    )
    parser.add_argument(
        "--sandboxes",
        metavar="N",
        type=integer(0, MOST_SANDBOXES),
        default=1,
        help="number of sandbox processes, which execute code (default: 1; 0: steps with code fail)",
    )
    parser.add_argument(
        "--port",
        metavar="P",
        # The dashboard gets the next port.
        type=integer(0, 65534),
        help="port of the gateway; the dashboard gets the next one (default: 8400; 0: any free ports)",
    )
    parser.add_argument("--detach", action="store_true", help="return when everything is healthy, and leave it running")
    parser.add_argument("--json-logs", action="store_true", help="show log lines as JSON, and nothing else on stdout")
    carry_out(parser, UpArgs, execute)


def _executors(text: str) -> int:
    return executors_for(usable_cores()) if text == _AUTO else integer(1, MOST_EXECUTORS)(text)


def execute(args: UpArgs, services: Services = our_services) -> int:
    if args.detach:
        return in_background(lambda healthy: _up(args, services, healthy))
    return _up(args, services, None)


def _up(args: UpArgs, services: Services, detached: Callable[[], None] | None) -> int:
    place = find_place(args.data, os.environ)
    options = StackOptions(
        place=place,
        executors=args.executors or _executors(_AUTO),
        sandboxes=args.sandboxes,
        port=_DEFAULT_PORT if args.port is None else args.port,
        json_logs=args.json_logs,
        services=services,
        detached=detached,
    )
    try:
        mine = take(place)
    except ServerRunning as error:
        return _already(args, place, error)
    try:
        outcome = asyncio.run(live(options))
    except FlowyardError as error:
        for line in error.message.splitlines():
            say(f"flowyard: {line}")
        return exits.STACK_FAILED
    finally:
        mine.release()
    return exits.OK if outcome == "ended" else exits.CANCELLED


def _already(args: UpArgs, place: Place, error: ServerRunning) -> int:
    """The exit code if the stack runs already, with the options of this command. Raises RunningOtherwise."""
    state = read_state(place.state)
    put(f"flowyard: {error.message.removeprefix('Flowyard is ')}")
    if state is None or state.gateway_url is None:
        return exits.OK
    put(f"  dashboard   {state.dashboard_url}\n  chat        {state.gateway_url}/chat")
    put(f"  API         {state.gateway_url}/v1")
    put(f"  to stop it  flowyard down --data {quote(str(place.path))}")
    differences = []
    if args.port and state.gateway_url and not state.gateway_url.endswith(f":{args.port}"):
        differences.append(f"its gateway on {state.gateway_url}")
    if args.executors is not None and args.executors != state.executors:
        differences.append(plural(state.executors, "executor"))
    if differences:
        raise RunningOtherwise(differences)
    return exits.OK
