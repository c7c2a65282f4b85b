"""`flowyard cost-report`: what model calls came to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from flowyard.api.client import Client
from flowyard.api.costs import CostGroup, CostReport, CostSums
from flowyard_cli import exits
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.remote.tables import NONE, as_data, print_table, when
from flowyard_cli.show.amounts import cost, dollars, percent, tokens
from flowyard_cli.show.format import plural, seconds
from flowyard_embedded.streams import print_json, put

_MARK: Final = "<- most expensive"


def execute(args: argparse.Namespace) -> int:
    """`args`: by, since, workflow, limit."""
    return at_the_stack(args, _report)


def _report(client: Client, args: argparse.Namespace) -> int:
    report = client.costs(by=args.by, since=args.since, workflow=args.workflow, limit=args.limit)
    if args.json:
        print_json({**as_data(report), "most_expensive": [group.group for group in most_expensive(report)]})
    else:
        _print(report)
    return exits.OK


def most_expensive(report: CostReport) -> Sequence[CostGroup]:
    """By what is known. Several that cost the same; none where nothing is known to have cost anything."""
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
    for line in _words(report, marked, since):
        put(line)


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
