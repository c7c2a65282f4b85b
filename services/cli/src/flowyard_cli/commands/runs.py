"""`flowyard runs`: lists the runs of the stack, shows one, follows it, cancels, retries and forks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal
from uuid import UUID

from flowyard.api.client import Client
from flowyard.api.history import EventView
from flowyard.api.runs import CancelRequest, ForkRequest, RunListItem, RunView
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs
from flowyard.runs.run import STATES, State
from flowyard_cli import exits
from flowyard_cli.grammar import (
    DEFAULT_LIMIT,
    StackArgs,
    WatchArgs,
    add_action,
    add_actions,
    carry_out,
    follow_options,
    integer,
    limit_option,
    run_argument,
    stack_command,
    stream_option,
)
from flowyard_cli.remote.ids import AmbiguousRun, find_run
from flowyard_cli.remote.inputs import fields_to_set, fork_point
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.remote.watching import show_submitted, watch
from flowyard_cli.show.format import plural
from flowyard_cli.show.tables import ago, as_data, print_items, when
from flowyard_cli.show.views import cost, print_calls, print_log, print_run, took
from flowyard_embedded.streams import print_json, put, say

_STEPS_WITH_LOG: Final = 100
"""The log of longer runs is shown by `flowyard runs events`: all of their events have to be read for it."""
_EXAMPLES: Final = """\
  flowyard runs list --workflow triage --status failed
  flowyard runs show 019adf3c --calls
  flowyard runs events 019adf3c --type step.failed
  flowyard runs follow 019adf3c
  flowyard runs cancel --workflow triage --all
  flowyard runs retry 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20 --follow
  flowyard runs fork 019adf3c --from write#2 --set topic=snow --follow
  flowyard runs fork 019adf3c --revision latest --preview

Instead of a whole id, its first six or more characters can be used, if no other run's id begins with them."""


@dataclass(frozen=True, kw_only=True)
class ListRunsArgs(StackArgs):
    workflow: str | None
    status: Sequence[State] | None
    limit: int


@dataclass(frozen=True, kw_only=True)
class ShowRunArgs(StackArgs):
    run: str
    calls: bool


@dataclass(frozen=True, kw_only=True)
class RunEventsArgs(StackArgs):
    """`after`: the number of an event. `type`: None: all."""

    run: str
    after: int
    type: str | None


@dataclass(frozen=True, kw_only=True)
class FollowRunArgs(WatchArgs):
    run: str


@dataclass(frozen=True, kw_only=True)
class CancelRunsArgs(StackArgs):
    runs: Sequence[str]
    workflow: str | None
    all: bool


@dataclass(frozen=True, kw_only=True)
class RetryRunArgs(FollowRunArgs):
    follow: bool


@dataclass(frozen=True, kw_only=True)
class ForkRunArgs(RetryRunArgs):
    """`point`: NODE or NODE#VISIT; None: keep what fits. `set`: FIELD=VALUE each. `revision`: `latest` or a number."""

    point: str | None
    set: Sequence[str]
    revision: str | None
    preview: bool


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.set_defaults(workflow=None, status=None, limit=DEFAULT_LIMIT)
    carry_out(parser, ListRunsArgs, partial(at_the_stack, _list))
    actions = add_actions(parser)
    listed = add_action(actions, "list", "Runs, newest first")
    listed.add_argument("--workflow", metavar="NAME", help="only runs of this workflow")
    listed.add_argument("--status", metavar="STATUS", action="append", choices=STATES, help=", ".join(STATES))
    limit_option(listed)
    show = add_action(actions, "show", "A run: its steps, inputs and outputs")
    run_argument(show)
    show.add_argument("--calls", action="store_true", help="with its model calls, and their texts if these are kept")
    carry_out(show, ShowRunArgs, partial(at_the_stack, _show))
    events = add_action(actions, "events", "The events of a run, with what is recorded of each")
    run_argument(events)
    events.add_argument("--after", metavar="N", type=integer(0, 2**31 - 1), default=0, help="only those after number N")
    events.add_argument("--type", metavar="TYPE", help="only those of this type, such as step.failed")
    carry_out(events, RunEventsArgs, partial(at_the_stack, _events))
    follow = add_action(actions, "follow", "Show a run's progress until it ends, then its result")
    run_argument(follow)
    stream_option(follow)
    carry_out(follow, FollowRunArgs, partial(at_the_stack, _follow))
    cancel = add_action(actions, "cancel", "Cancel runs")
    cancel.add_argument("runs", metavar="ID", nargs="*", help="ids of runs, or their first six or more characters")
    cancel.add_argument("--workflow", metavar="NAME", help="with --all: all open runs of this workflow")
    cancel.add_argument("--all", action="store_true", help="cancel all open runs of --workflow")
    carry_out(cancel, CancelRunsArgs, partial(at_the_stack, _cancel))
    retry = add_action(actions, "retry", "Continue a failed run from the step that failed")
    run_argument(retry)
    follow_options(retry)
    carry_out(retry, RetryRunArgs, partial(at_the_stack, _retry))
    _add_fork(add_action(actions, "fork", "Start a new run that keeps steps of this one"))


def _add_fork(parser: argparse.ArgumentParser) -> None:
    run_argument(parser)
    parser.add_argument(
        "--from",
        dest="point",
        metavar="NODE[#VISIT]",
        help="the first step to execute again (default: those that the changes affect)",
    )
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="change a field before that step; without --from, an input",
    )
    parser.add_argument(
        "--revision", metavar="N|latest", help="use this revision of the workflow (default: that of the run)"
    )
    parser.add_argument("--preview", action="store_true", help="only show which steps would be kept; starts nothing")
    follow_options(parser)
    carry_out(parser, ForkRunArgs, partial(at_the_stack, _fork))


def _list(client: Client, args: ListRunsArgs) -> int:
    runs = client.runs(workflow=args.workflow, status=args.status or (), most=args.limit)
    columns = ("run", "workflow", "status", "created", "took", "cost")
    empty = "no such runs" if args.workflow or args.status else "no runs yet"
    return print_items(runs, columns, _row, as_json=args.json, empty=empty)


def _row(run: RunListItem) -> tuple[object, ...]:
    return run.id, run.workflow, run.status, ago(run.created_at), took(run), cost(run.spending)


def _show(client: Client, args: ShowRunArgs) -> int:
    run = client.whole_run(find_run(client, args.run))
    steps = client.whole_steps(run.id) if args.json else client.steps(run.id)
    if args.json:
        calls = client.calls(run.id, texts=args.calls)
        print_json({**as_data(run), "steps": [as_data(step) for step in steps], "calls": [as_data(c) for c in calls]})
    else:
        print_run(run, steps)
        if len(steps) <= _STEPS_WITH_LOG:
            print_log(event for event in client.events(run.id) if event.type == "code.printed")
        if args.calls:
            print_calls(client.calls(run.id, texts=True))
    return exits.OK


def _events(client: Client, args: RunEventsArgs) -> int:
    run = client.run(find_run(client, args.run))
    events = (event for event in client.events(run.id, after=args.after) if args.type in (None, event.type))
    return print_items(events, ("event", "at", "type", "data"), _event_row, as_json=args.json, empty="no such events")


def _event_row(event: EventView) -> tuple[object, ...]:
    return event.seq, when(event.at), event.type, json.dumps(event.data, ensure_ascii=False)


def _follow(client: Client, args: FollowRunArgs) -> int:
    return watch(client, args, client.run(find_run(client, args.run)))


def _cancel(client: Client, args: CancelRunsArgs) -> int:
    if bool(args.runs) == bool(args.all or args.workflow) or bool(args.all) != bool(args.workflow):
        raise InvalidInputs(["which runs? give their ids, or --workflow NAME --all"])
    if args.workflow is None:
        return _cancel_each(client, args.runs, as_json=args.json)
    run_ids = _cancel_all(client, args.workflow)
    if args.json:
        print_json({"cancelled": [str(run_id) for run_id in run_ids], "refused": {}})
    else:
        put(f"{args.workflow}: {plural(len(run_ids), 'run')} cancelled")
    return exits.OK


def _cancel_all(client: Client, workflow: str) -> list[UUID]:
    """Cancels all open runs of the workflow. Returns those that it cancelled; others may have ended meanwhile."""
    done = client.cancel_many(CancelRequest(workflow=workflow))
    run_ids = list(done.run_ids)
    while done.next_cursor is not None:
        done = client.cancel_many(CancelRequest(workflow=workflow, cursor=done.next_cursor))
        run_ids += done.run_ids
    return run_ids


def _cancel_each(client: Client, runs: Sequence[str], *, as_json: bool) -> int:
    cancelled: list[str] = []
    refused: dict[str, Any] = {}
    for text in runs:
        try:
            run = client.cancel(find_run(client, text))
        except FlowyardError as error:
            if len(runs) == 1 or _concerns_all(error):
                raise
            refused[text] = {"code": error.code, "message": error.message}
            say(f"flowyard: {error.message} [{error.code}]")
        else:
            cancelled.append(str(run.id))
            if not as_json:
                put(f"run {run.id} {'is cancelled' if run.status == 'cancelled' else 'is being cancelled'}")
    if as_json:
        print_json({"cancelled": cancelled, "refused": refused})
    return exits.WRONG_INPUT if refused else exits.OK


def _concerns_all(error: FlowyardError) -> bool:
    """True if the next run would fail with the same error."""
    return error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT) and not isinstance(error, AmbiguousRun)


def _retry(client: Client, args: RetryRunArgs) -> int:
    before = client.run(find_run(client, args.run))
    return _started(client, args, client.retry(before.id), seen=before.last_seq)


def _fork(client: Client, args: ForkRunArgs) -> int:
    origin = client.run(find_run(client, args.run))
    values = fields_to_set(client, origin, args.set)
    revision = _revision(args.revision)
    if args.point is None:
        request = ForkRequest(inputs=values, state={}, revision=revision)
    else:
        request = ForkRequest(point=fork_point(args.point), state=values, inputs={}, revision=revision)
    if args.preview:
        return _preview(client, args, origin, request)
    return _started(client, args, client.fork(origin.id, request))


def _revision(text: str | None) -> int | Literal["latest"] | None:
    if text is None:
        return None
    if text == "latest":
        return "latest"
    if not text.isdecimal() or int(text) < 1:
        raise InvalidInputs([f"--revision {text}: give the number of a revision, or 'latest'"])
    return int(text)


def _preview(client: Client, args: ForkRunArgs, origin: RunView, request: ForkRequest) -> int:
    preview = client.preview_fork(origin.id, request)
    if args.json:
        print_json(as_data(preview))
        return exits.OK
    put(f"keeps {plural(len(preview.kept), 'step')}: {', '.join(preview.kept) or 'none'}")
    put(f"executes first: {', '.join(preview.leaves_at) or 'nothing, all steps fit'}")
    return exits.OK


def _started(client: Client, args: RetryRunArgs, run: RunView, *, seen: int = 0) -> int:
    return watch(client, args, run, seen=seen) if args.follow else show_submitted(args, run)
