"""`flowyard workflows`: lists, shows and changes the workflows of the stack."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowyard.api.client import Client
from flowyard.api.workflows import RevisionSummary, WorkflowSummary
from flowyard.errors.requests import InvalidInputs
from flowyard_cli import exits
from flowyard_cli.grammar import (
    DEFAULT_LIMIT,
    StackArgs,
    add_action,
    add_actions,
    carry_out,
    integer,
    limit_option,
    stack_command,
)
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.format import plural
from flowyard_cli.show.tables import NONE, ago, as_data, print_items
from flowyard_cli.show.views import print_workflow
from flowyard_embedded.streams import print_json, put

_EXAMPLES: Final = """\
  flowyard workflows
  flowyard workflows show triage
  flowyard workflows show triage --document --revision 2
  flowyard workflows diff triage --from 2
  flowyard workflows rollback triage 2"""
_revision = integer(1, 2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class ListWorkflowsArgs(StackArgs):
    search: str | None
    limit: int


@dataclass(frozen=True, kw_only=True)
class ShowWorkflowArgs(StackArgs):
    """`revision`: whose document; None: the current one's."""

    name: str
    document: bool
    revision: int | None


@dataclass(frozen=True, kw_only=True)
class ListRevisionsArgs(StackArgs):
    name: str
    limit: int


@dataclass(frozen=True, kw_only=True)
class DiffRevisionsArgs(StackArgs):
    name: str
    older: int | None
    newer: int | None


@dataclass(frozen=True, kw_only=True)
class RollbackWorkflowArgs(StackArgs):
    name: str
    revision: int


@dataclass(frozen=True, kw_only=True)
class DeleteWorkflowArgs(StackArgs):
    name: str
    force: bool


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.set_defaults(search=None, limit=DEFAULT_LIMIT)
    carry_out(parser, ListWorkflowsArgs, partial(at_the_stack, _list))
    actions = add_actions(parser)
    listed = add_action(actions, "list", "All workflows")
    listed.add_argument("--search", metavar="TEXT", default=argparse.SUPPRESS, help="a part of the name")
    limit_option(listed)
    show = add_action(actions, "show", "A workflow: its inputs and nodes")
    show.add_argument("name", metavar="NAME")
    show.add_argument("--document", action="store_true", help="print the document, as it was written")
    show.add_argument("--revision", metavar="N", type=_revision, help="the document of this revision; with --document")
    carry_out(show, ShowWorkflowArgs, partial(at_the_stack, _show))
    revisions = add_action(actions, "revisions", "The revisions of a workflow, newest first")
    revisions.add_argument("name", metavar="NAME")
    limit_option(revisions)
    carry_out(revisions, ListRevisionsArgs, partial(at_the_stack, _revisions))
    _add_diff(add_action(actions, "diff", "What changed between two revisions"))
    rollback = add_action(actions, "rollback", "Make the document of an older revision the current one")
    rollback.add_argument("name", metavar="NAME")
    rollback.add_argument("revision", metavar="REVISION", type=_revision)
    carry_out(rollback, RollbackWorkflowArgs, partial(at_the_stack, _rollback))
    delete = add_action(actions, "delete", "Delete a workflow with its revisions; finished runs are kept")
    delete.add_argument("name", metavar="NAME")
    delete.add_argument("--force", action="store_true", help="cancel its open runs, instead of refusing")
    carry_out(delete, DeleteWorkflowArgs, partial(at_the_stack, _delete))


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--from", dest="older", metavar="N", type=_revision, help="default: the revision before the newer one"
    )
    parser.add_argument("--to", dest="newer", metavar="N", type=_revision, help="default: the current revision")
    carry_out(parser, DiffRevisionsArgs, partial(at_the_stack, _diff))


def _list(client: Client, args: ListWorkflowsArgs) -> int:
    def row(workflow: WorkflowSummary) -> tuple[object, ...]:
        run = next(client.runs(workflow=workflow.name, most=1), None)
        last_run = f"{run.status}, {ago(run.finished_at or run.created_at)}" if run else NONE
        return workflow.name, workflow.revision, ago(workflow.updated_at), last_run

    workflows = client.workflows(search=args.search, most=args.limit)
    columns = ("workflow", "revision", "updated", "last run")
    empty = "no workflows" if args.search else "no workflows yet: flowyard apply FILE"
    return print_items(workflows, columns, row, as_json=args.json, empty=empty)


def _show(client: Client, args: ShowWorkflowArgs) -> int:
    if args.revision is not None:
        return _show_revision(client, args, args.revision)
    workflow = client.workflow(args.name)
    if args.json:
        print_json(as_data(workflow))
    elif args.document:
        _put_document(workflow.document)
    else:
        print_workflow(workflow)
    return exits.OK


def _show_revision(client: Client, args: ShowWorkflowArgs, number: int) -> int:
    if not args.document and not args.json:
        raise InvalidInputs(["--revision: only a revision's document can be shown, with --document"])
    revision = client.revision(args.name, number)
    if args.json:
        print_json(as_data(revision))
    else:
        _put_document(revision.document)
    return exits.OK


def _put_document(text: str) -> None:
    put(text, end="" if text.endswith("\n") else "\n")


def _revisions(client: Client, args: ListRevisionsArgs) -> int:
    def row(revision: RevisionSummary) -> tuple[object, ...]:
        return revision.number, ago(revision.created_at), revision.restores or NONE, revision.digest

    revisions, columns = client.revisions(args.name, most=args.limit), ("revision", "created", "restores", "digest")
    return print_items(revisions, columns, row, as_json=args.json, empty="no revisions")


def _diff(client: Client, args: DiffRevisionsArgs) -> int:
    difference = client.difference(args.name, older=args.older, newer=args.newer)
    if args.json:
        print_json(as_data(difference))
    elif difference.text:
        put(difference.text)
    else:
        put(f"{args.name}: nothing differs from revision {difference.older} to revision {difference.newer}")
    return exits.OK


def _rollback(client: Client, args: RollbackWorkflowArgs) -> int:
    applied = client.roll_back(args.name, args.revision)
    if args.json:
        print_json(as_data(applied))
    elif applied.created:
        put(f"{applied.name}: revision {applied.revision}, with the document of revision {args.revision}")
    else:
        put(f"{applied.name}: revision {applied.revision} has that document already")
    return exits.OK


def _delete(client: Client, args: DeleteWorkflowArgs) -> int:
    deleted = client.delete_workflow(args.name, force=args.force)
    if args.json:
        print_json(as_data(deleted))
        return exits.OK
    runs = len(deleted.cancelled) + len(deleted.cancelling)
    put(f"{deleted.name}: deleted" + (f", {plural(runs, 'run')} cancelled" if runs else ""))
    return exits.OK
