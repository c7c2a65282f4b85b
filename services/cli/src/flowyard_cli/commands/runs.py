"""`flowyard runs`: those of the stack."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from flowyard.api.client import Client
from flowyard.api.runs import CancelRequest, ForkRequest, RunSummary, RunView
from flowyard.errors import FlowyardError, InvalidInputs
from flowyard_cli import exits
from flowyard_cli.remote.ids import AmbiguousRun, find_run
from flowyard_cli.remote.inputs import fields_to_set, fork_point
from flowyard_cli.remote.stack import Work, at_the_stack
from flowyard_cli.remote.tables import ago, as_data, print_items, print_table
from flowyard_cli.remote.views import cost, print_run, took
from flowyard_cli.remote.watching import how_to_go_on, watch
from flowyard_cli.show.format import plural
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
    if args.all:
        run_ids = _cancelled(client, args.workflow)
        if args.json:
            print_json({"cancelled": [str(run_id) for run_id in run_ids], "refused": {}})
        else:
            put(f"{args.workflow}: {plural(len(run_ids), 'run')} cancelled")
        return exits.OK
    return _cancel_each(client, args)


def _cancelled(client: Client, workflow: str) -> list[UUID]:
    """All open runs of the workflow. Those that end by themselves meanwhile are no matter."""
    done = client.cancel_many(CancelRequest(workflow=workflow))
    run_ids = list(done.run_ids)
    while done.next_cursor is not None:
        done = client.cancel_many(CancelRequest(workflow=workflow, cursor=done.next_cursor))
        run_ids += done.run_ids
    return run_ids


def _cancel_each(client: Client, args: argparse.Namespace) -> int:
    cancelled: list[str] = []
    refused: dict[str, Any] = {}
    for text in args.runs:
        try:
            run = client.cancel(find_run(client, text))
        except FlowyardError as error:
            if len(args.runs) == 1 or _concerns_all(error):
                raise
            refused[text] = {"code": error.code, "message": error.message}
            say(f"flowyard: {error.message} [{error.code}]")
        else:
            cancelled.append(str(run.id))
            if not args.json:
                put(f"run {run.id} {'is cancelled' if run.status == 'cancelled' else 'is being cancelled'}")
    if args.json:
        print_json({"cancelled": cancelled, "refused": refused})
    return exits.WRONG_INPUT if refused else exits.OK


def _concerns_all(error: FlowyardError) -> bool:
    """The next run would meet with it, too."""
    return error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT) and not isinstance(error, AmbiguousRun)


def _retry(client: Client, args: argparse.Namespace) -> int:
    before = client.run(find_run(client, args.run))
    return _begun(client, args, client.retry(before.id), seen=before.last_seq)


def _fork(client: Client, args: argparse.Namespace) -> int:
    origin = client.run(find_run(client, args.run))
    values = fields_to_set(client, origin, args.set)
    if args.point is None:
        request = ForkRequest(inputs=values, state={})
    else:
        request = ForkRequest(point=fork_point(args.point), state=values, inputs={})
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
