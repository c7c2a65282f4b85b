"""`flowyard audit`: shows and exports the audit log, and checks its chain."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from flowyard.api.audit import AuditEntry, BrokenChain, checked
from flowyard.api.client import Client
from flowyard.api.moments import read_moment
from flowyard.errors.base import FlowyardError
from flowyard_cli import exits
from flowyard_cli.grammar import DEFAULT_LIMIT, StackArgs, add_action, carry_out, integer, stack_command
from flowyard_cli.reading import UnreadableFile
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.tables import NONE, print_table
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard audit                              the newest acts
  flowyard audit --act key --since 7d         keys that were created, rotated and revoked
  flowyard audit --object 0197c1f2-…          what was done with a run
  flowyard audit --json > audit.jsonl         export all of it, a JSON object per line, the oldest first
  flowyard audit verify                       check that no row was changed, removed or inserted
  flowyard audit verify audit.jsonl           check an export

acts: run.submitted, run.forked, run.retried, run.cancelled, workflow.applied, workflow.restored, workflow.deleted,
trigger.backfilled, trigger.paused, trigger.resumed, delivery.replayed, notification.replayed, receiver.enabled,
receiver.replayed, key.created, key.rotated, key.revoked, session.opened, agent.removed"""
_VERIFY: Final = """\
Each row has the hash of the row before, so a row that was changed, removed or inserted doesn't fit its neighbours. Who
owns the database could compute all hashes anew, or remove the newest rows: keep the last line that this prints in
another place, and give it with --known the next time."""


@dataclass(frozen=True, kw_only=True)
class AuditArgs(StackArgs):
    act: str | None
    key: str | None
    workflow: str | None
    object: str | None
    since: str | None
    until: str | None
    limit: int | None


@dataclass(frozen=True, kw_only=True)
class VerifyArgs(StackArgs):
    file: str | None
    known: str | None


class WrongExport(FlowyardError, code="wrong_export"):
    """A line of a file is no row of an audit log."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__(f"{file}:{line}: this is no row of an audit log, as `flowyard audit --json` prints it")


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.set_defaults(act=None, key=None, workflow=None, object=None, since=None, until=None, limit=None)
    carry_out(parser, AuditArgs, partial(at_the_stack, _show))
    parser.add_argument("--act", metavar="ACT", help="only this act, or with the word before the dot all of its kind")
    parser.add_argument("--key", metavar="ID", help="only what was done with this key")
    parser.add_argument("--workflow", metavar="NAME", help="only what was done with this workflow and its runs")
    parser.add_argument("--object", metavar="ID", help="only what was done with this run, key or agent")
    parser.add_argument("--since", metavar="TIME", type=_moment, help="only from then on: 7d, 24h, 2026-11-23")
    parser.add_argument("--until", metavar="TIME", type=_moment, help="only before then")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=integer(1, 1_000_000),
        help=f"how many at most (default: {DEFAULT_LIMIT}; with --json: all)",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions (show the log if left out)")
    verify = add_action(actions, "verify", "Check the chain of the log, or of an export")
    verify.epilog = _VERIFY
    verify.add_argument(
        "file", metavar="FILE", nargs="?", help="an export; - reads standard input (default: the stack)"
    )
    verify.add_argument(
        "--known", metavar="NUMBER:HASH", help="a row that an earlier check has printed: it has to be there, unchanged"
    )
    carry_out(verify, VerifyArgs, _verify)


def _show(client: Client, args: AuditArgs) -> int:
    wanted = {name: getattr(args, name) for name in ("act", "key", "workflow", "since", "until")}
    most = args.limit if args.json or args.limit else DEFAULT_LIMIT
    rows = client.audit(**wanted, object_id=args.object, oldest_first=args.json, most=most)
    if args.json:
        for row in rows:
            put(row.model_dump_json())
    else:
        columns = ("number", "at", "act", "who", "key", "address", "workflow", "objects")
        print_table(columns, map(_row, rows), empty="nothing was written down")
    return exits.OK


def _row(row: AuditEntry) -> tuple[object, ...]:
    first = row.objects[0] if row.objects else NONE
    objects = first if len(row.objects) <= 1 else f"{first} and {len(row.objects) - 1} more"
    return row.number, row.at[:19].replace("T", " "), row.act, row.who, row.key_id, row.address, row.workflow, objects


def _verify(args: VerifyArgs) -> int:
    if args.file is None:
        return at_the_stack(_verify_stack, args)
    try:
        with ExitStack() as opened:
            lines = sys.stdin.buffer if args.file == "-" else opened.enter_context(Path(args.file).open("rb"))
            return _report(_entries(args.file, lines), args)
    except OSError as error:
        raise UnreadableFile(args.file, error) from error


def _verify_stack(client: Client, args: VerifyArgs) -> int:
    return _report(client.audit(oldest_first=True), args)


def _entries(file: str, lines: Iterable[bytes]) -> Iterator[AuditEntry]:
    for number, line in enumerate(lines, 1):
        try:
            yield AuditEntry.model_validate_json(line)
        except ValidationError as error:
            raise WrongExport(file, number) from error


def _report(entries: Iterable[AuditEntry], args: VerifyArgs) -> int:
    count, first, last, problem = 0, None, None, None
    is_known = args.known is None
    try:
        for entry in checked(entries):
            count, first, last = count + 1, first or entry, entry
            is_known = is_known or args.known == f"{entry.number}:{entry.hash}"
    except BrokenChain as error:
        problem = str(error)
    if problem is None and not is_known:
        problem = f"the row {args.known} isn't there, or was changed"
    if args.json:
        print_json(
            {"valid": problem is None, "problem": problem, "rows": count, "last": last and f"{last.number}:{last.hash}"}
        )
    elif problem is not None:
        say(f"flowyard: {problem}")
    elif first is None or last is None:
        put("the log is empty")
    else:
        older = "" if first.number == 1 else f"; rows before {first.number} were deleted when they were old enough"
        put(f"{count} rows fit together, from {first.number} to {last.number}{older}")
        put(f"{last.number}:{last.hash}")
    return exits.OK if problem is None else exits.STACK_FAILED


def _moment(text: str) -> str:
    try:
        read_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' {error}") from error
    return text
