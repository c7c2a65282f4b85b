"""`flowyard runs`: those of the stack."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from flowyard.api.client import Client
from flowyard.api.refusals import Refused
from flowyard.api.runs import CancelRequest, ForkRequest, RunSummary, RunView
from flowyard.errors import FlowyardError, InvalidInputs
from flowyard_embedded import exits
from flowyard_embedded.remote.ids import find_run
from flowyard_embedded.remote.inputs import fields_to_set, fork_point
from flowyard_embedded.remote.stack import Work, at_the_stack
from flowyard_embedded.remote.tables import ago, as_data, print_items, print_table
from flowyard_embedded.remote.views import cost, print_run, took
from flowyard_embedded.remote.watching import how_to_go_on, watch
from flowyard_embedded.show.format import plural
from flowyard_embedded.streams import print_json, put, say


def execute(args: argparse.Namespace) -> int:
    """`args`: action, and what it needs."""
    return at_the_stack(args, _ACTIONS[args.action or "list"])


def _list(client: Client, args: argparse.Namespace) -> int:
    found = list(client.runs(workflow=args.workflow, status=args.status or (), most=args.limit))
    if args.json:
        print_items(found)
        return exits.OK
    columns = ("run", "workflow", "status", "created", "took", "cost")
    print_table(columns, map(_row, found), empty="no such runs" if args.workflow or args.status else "no runs yet")
    return exits.OK


def _row(run: RunSummary) -> tuple[object, ...]:
    return run.id, run.workflow, run.status, ago(run.created_at), took(run), cost(run.spending)


def _show(client: Client, args: argparse.Namespace) -> int:
    run = client.run(find_run(client, args.run))
    steps = client.steps(run.id)
    if args.json:
        calls = client.calls(run.id)
        print_json({**as_data(run), "steps": [as_data(step) for step in steps], "calls": [as_data(c) for c in calls]})
    else:
        print_run(run, steps)
    return exits.OK


def _follow(client: Client, args: argparse.Namespace) -> int:
    return watch(client, args, client.run(find_run(client, args.run)))


def _cancel(client: Client, args: argparse.Namespace) -> int:
    if bool(args.runs) == bool(args.all or args.workflow) or bool(args.all) != bool(args.workflow):
        raise InvalidInputs(["say which: either ids of runs, or --workflow NAME --all"])
    cancelled, refused = _cancel_all(client, args.workflow) if args.all else _cancel_each(client, args.runs)
    if args.json:
        print_json({"cancelled": [str(run_id) for run_id in cancelled], "refused": refused})
    elif args.all:
        put(f"{args.workflow}: {plural(len(cancelled), 'run')} cancelled")
    return exits.WRONG_INPUT if refused and not args.all else exits.OK


def _cancel_all(client: Client, workflow: str) -> tuple[list[UUID], dict[str, Any]]:
    """Those that end meanwhile by themselves are none to be told about."""
    done = client.cancel_many(CancelRequest(workflow=workflow))
    cancelled = list(done.run_ids)
    while done.next_cursor is not None:
        done = client.cancel_many(CancelRequest(workflow=workflow, cursor=done.next_cursor))
        cancelled += done.run_ids
    return cancelled, {}


def _cancel_each(client: Client, texts: list[str]) -> tuple[list[UUID], dict[str, Any]]:
    cancelled: list[UUID] = []
    refused: dict[str, Any] = {}
    for text in texts:
        try:
            run = client.cancel(find_run(client, text))
        except FlowyardError as error:
            if len(texts) == 1 or _concerns_all(error):
                raise
            refused[text] = {"code": error.code, "message": error.message}
            say(f"flowyard: {error.message} [{error.code}]")
        else:
            cancelled.append(run.id)
            say(f"{run.workflow}: run {run.id} {'is cancelled' if run.status == 'cancelled' else 'is being cancelled'}")
    return cancelled, refused


def _concerns_all(error: FlowyardError) -> bool:
    return not (isinstance(error, Refused) and error.status in (404, 409)) and error.status != 404


def _retry(client: Client, args: argparse.Namespace) -> int:
    before = client.run(find_run(client, args.run))
    return _begun(client, args, client.retry(before.id), seen=before.last_seq)


def _fork(client: Client, args: argparse.Namespace) -> int:
    origin = client.run(find_run(client, args.run))
    values = fields_to_set(client, origin, args.set)
    if args.point is None:
        request = ForkRequest(inputs=values)
    else:
        request = ForkRequest(point=fork_point(args.point), state=values)
    return _begun(client, args, client.fork(origin.id, request))


def _begun(client: Client, args: argparse.Namespace, run: RunView, *, seen: int = 0) -> int:
    if args.follow:
        return watch(client, args, run, seen=seen)
    if args.json:
        print_json(as_data(run))
    else:
        put(str(run.id))
        how_to_go_on(args, run)
    return exits.OK


_ACTIONS: Final[Mapping[str, Work]] = {
    "list": _list,
    "show": _show,
    "follow": _follow,
    "cancel": _cancel,
    "retry": _retry,
    "fork": _fork,
}
