"""`flowyard up`: the whole stack on this machine, supervised from this process or from one in the background."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Sequence
from shlex import quote
from typing import Final

from flowyard.errors import FlowyardError
from flowyard_cli import exits
from flowyard_cli.show.format import plural
from flowyard_embedded.faults import ServerRunning
from flowyard_embedded.stack.place import Place, find_place, take
from flowyard_embedded.stack.services import Services, our_services
from flowyard_embedded.stack.start import StackOptions
from flowyard_embedded.stack.state import StackState, read_state
from flowyard_embedded.stack.up import in_background, live
from flowyard_embedded.streams import put, say

DEFAULT_EXECUTORS: Final = 1
DEFAULT_PORT: Final = 8400
_NOT_STARTED: Final = 1


class RunningOtherwise(FlowyardError):
    """A stack runs, with other options than those of this command."""

    code = "running_otherwise"

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__(f"it runs with {' and '.join(differences)}: end it first, with `flowyard down`")


def execute(args: argparse.Namespace, services: Services = our_services) -> int:
    """`args`: data, executors, port, detach, json_logs."""
    if args.detach:
        return in_background(lambda tell: _up(args, services, tell))
    return _up(args, services, None)


def _up(args: argparse.Namespace, services: Services, detached: Callable[[], None] | None) -> int:
    place = find_place(args.data, os.environ)
    executors = DEFAULT_EXECUTORS if args.executors is None else args.executors
    port = DEFAULT_PORT if args.port is None else args.port
    options = StackOptions(
        place=place,
        executors=executors,
        port=port,
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
        return _NOT_STARTED
    finally:
        mine.release()
    return exits.OK if outcome == "ended" else exits.CANCELLED


def _already(args: argparse.Namespace, place: Place, error: ServerRunning) -> int:
    """0 if what runs is what was asked for."""
    state = read_state(place.state)
    put(f"flowyard: {error.message.removeprefix('Flowyard is ')}")
    if state is None or state.gateway_url is None:
        return exits.OK
    put(f"  dashboard   {state.dashboard_url}\n  API         {state.gateway_url}/v1")
    put(f"  to end it   flowyard down --data {quote(str(place.path))}")
    if differences := _differences(args, state):
        raise RunningOtherwise(differences)
    return exits.OK


def _differences(args: argparse.Namespace, state: StackState) -> list[str]:
    found = []
    if args.port and state.gateway_url and not state.gateway_url.endswith(f":{args.port}"):
        found.append(f"its gateway on {state.gateway_url}")
    if args.executors is not None and args.executors != state.executors:
        found.append(plural(state.executors, "executor"))
    return found
