"""`flowyard workflows`: those that the stack has."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from flowyard.api.client import Client
from flowyard.api.workflows import WorkflowSummary
from flowyard_cli import exits
from flowyard_cli.remote.stack import Work, at_the_stack
from flowyard_cli.remote.tables import NONE, ago, as_data, print_items, print_table
from flowyard_cli.remote.views import print_workflow
from flowyard_cli.show.format import plural
from flowyard_embedded.streams import print_json, put


def execute(args: argparse.Namespace) -> int:
    """`args`: action, and what it needs."""
    return at_the_stack(args, _ACTIONS[args.action or "list"])


def _list(client: Client, args: argparse.Namespace) -> int:
    found = list(client.workflows(search=args.search, most=args.limit))
    if args.json:
        print_items(found)
        return exits.OK
    rows = [(one.name, one.revision, ago(one.updated_at), _last_run(client, one)) for one in found]
    empty = "no workflows" if args.search else "no workflows yet: flowyard apply FILE"
    print_table(("workflow", "revision", "updated", "last run"), rows, empty=empty)
    return exits.OK


def _last_run(client: Client, workflow: WorkflowSummary) -> str:
    run = next(client.runs(workflow=workflow.name, most=1), None)
    return f"{run.status}, {ago(run.finished_at or run.created_at)}" if run else NONE


def _show(client: Client, args: argparse.Namespace) -> int:
    workflow = client.workflow(args.name)
    if args.json:
        print_json(as_data(workflow))
    elif args.document:
        put(workflow.document, end="" if workflow.document.endswith("\n") else "\n")
    else:
        print_workflow(workflow)
    return exits.OK


def _revisions(client: Client, args: argparse.Namespace) -> int:
    found = list(client.revisions(args.name, most=args.limit))
    if args.json:
        print_items(found)
        return exits.OK
    rows = [(one.number, ago(one.created_at), one.restores or NONE, one.digest) for one in found]
    print_table(("revision", "created", "restores", "digest"), rows, empty="no revisions")
    return exits.OK


def _diff(client: Client, args: argparse.Namespace) -> int:
    found = client.difference(args.name, older=args.older, newer=args.newer)
    if args.json:
        print_json(as_data(found))
    elif found.text:
        put(found.text)
    else:
        put(f"{args.name}: nothing differs from revision {found.older} to revision {found.newer}")
    return exits.OK


def _rollback(client: Client, args: argparse.Namespace) -> int:
    applied = client.roll_back(args.name, args.revision)
    if args.json:
        print_json(as_data(applied))
    elif applied.created:
        put(f"{applied.name}: revision {applied.revision}, with the document of revision {args.revision}")
    else:
        put(f"{applied.name}: revision {applied.revision} has that document already")
    return exits.OK


def _delete(client: Client, args: argparse.Namespace) -> int:
    deleted = client.delete_workflow(args.name, force=args.force)
    if args.json:
        print_json(as_data(deleted))
        return exits.OK
    runs = len(deleted.cancelled) + len(deleted.cancelling)
    put(f"{deleted.name}: deleted" + (f", {plural(runs, 'run')} cancelled" if runs else ""))
    return exits.OK


_ACTIONS: Final[Mapping[str, Work]] = {
    "list": _list,
    "show": _show,
    "revisions": _revisions,
    "diff": _diff,
    "rollback": _rollback,
    "delete": _delete,
}
