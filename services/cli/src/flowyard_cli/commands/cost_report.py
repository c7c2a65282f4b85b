"""`flowyard cost-report`: the cost of model calls, in groups."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final, get_args

from flowyard.api.client import Client
from flowyard.api.costs import CostGroup, CostReport, CostSums
from flowyard.runs.costs import Grouping
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, carry_out, report_options, stack_command
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.format import cost, dollars, percent, plural, seconds, tokens
from flowyard_cli.show.tables import NONE, as_data, print_table, when
from flowyard_embedded.streams import print_json, put

_EXAMPLES: Final = """\
  flowyard cost-report
  flowyard cost-report --by node --workflow triage --since 24h
  flowyard cost-report --by day --since 2026-11-01 --json

Sums are exact. Unknown costs don't count as zero: `≥ $0.12 (3 calls unknown)`."""
_MARK: Final = "<- most expensive"


@dataclass(frozen=True, kw_only=True)
class CostReportArgs(StackArgs):
    by: Grouping
    since: str
    workflow: str | None
    limit: int


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.add_argument("--by", choices=get_args(Grouping), default="model", help="what to group by (default: model)")
    parser.add_argument("--workflow", metavar="NAME", help="only calls of this workflow")
    report_options(parser, since="calls that ended then or later", items="groups", limit=50)
    carry_out(parser, CostReportArgs, partial(at_the_stack, _report))


def _report(client: Client, args: CostReportArgs) -> int:
    report = client.costs(by=args.by, since=args.since, workflow=args.workflow, limit=args.limit)
    if args.json:
        print_json({**as_data(report), "most_expensive": [group.group for group in most_expensive(report)]})
    else:
        _print(report)
    return exits.OK


def most_expensive(report: CostReport) -> Sequence[CostGroup]:
    """By known costs. Several groups if they cost the same; none if no known cost is above zero."""
    most = max((Decimal(group.known_cost_usd) for group in report.items), default=Decimal(0))
    return [group for group in report.items if most > 0 and Decimal(group.known_cost_usd) == most]


def _print(report: CostReport) -> None:
    since = f"since {when(report.since)}"
    if not report.total.calls:
        put(f"no model calls {since}" + (f" of workflow {report.workflow}" if report.workflow else ""))
        return
    marked = most_expensive(report)
    rows = [(group.group, *_cells(group), _MARK if group in marked else " ") for group in report.items]
    columns = (report.by, "calls", "failed", "tokens in", "out", "cached", "cost", "mean", "p95", "first token", " ")
    print_table(columns, [*rows, ("total", *_cells(report.total), " ")], empty="")
    put()
    put("\n".join(_words(report, marked, since)))


def _cells(sums: CostSums) -> tuple[object, ...]:
    return (
        f"{sums.calls:,}",
        f"{sums.errors:,}",
        tokens(sums.tokens_in, sums.known_tokens_in),
        tokens(sums.tokens_out, sums.known_tokens_out),
        tokens(sums.tokens_cached, sums.known_tokens_cached),
        cost(sums.known_cost_usd, sums.unknown_cost),
        _seconds(sums.duration_mean_s),
        _seconds(sums.duration_p95_s),
        _seconds(sums.first_token_p50_s),
    )


def _seconds(value: float | None) -> str:
    return NONE if value is None else seconds(value)


def _words(report: CostReport, marked: Sequence[CostGroup], since: str) -> list[str]:
    total = report.total
    whose = f" of workflow {report.workflow}" if report.workflow else ""
    lines = [f"{plural(total.calls, 'model call')}{whose} {since}: {cost(total.known_cost_usd, total.unknown_cost)}"]
    if marked:
        share = Decimal(marked[0].known_cost_usd) / Decimal(total.known_cost_usd)
        each = ", each" if len(marked) > 1 else ","
        known = " of what is known" if total.unknown_cost else " of all"
        names = ", ".join(group.group for group in marked)
        lines.append(
            f"most expensive: {names}{each} {dollars(marked[0].known_cost_usd)}, {percent(float(share))}{known}"
        )
    left_out = report.group_count - len(report.items)
    if left_out:
        lines.append(f"{plural(left_out, 'more group')} not shown: see --limit")
    return lines
