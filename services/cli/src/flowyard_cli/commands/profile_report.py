"""`flowyard profile-report`: where the time of runs went, and their bottlenecks."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowyard.api.client import Client
from flowyard.api.profiles import NodeSpreadView, NodeTimes, ProfileReport, RunProfile, SpreadOfSpent, SpreadView
from flowyard.runs.profile import CATEGORIES
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, carry_out, decimal, report_options, stack_command
from flowyard_cli.remote.ids import find_run
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.format import percent, plural, seconds
from flowyard_cli.show.tables import as_data, print_facts, print_table, when
from flowyard_embedded.streams import print_json, put

_EXAMPLES: Final = """\
  flowyard profile-report
  flowyard profile-report --workflow triage --since 24h
  flowyard profile-report --run 019adf3c --threshold 0.3

A bottleneck is a node that took more than half of a run's time at work, or more than the share --threshold."""


@dataclass(frozen=True, kw_only=True)
class ProfileReportArgs(StackArgs):
    """`threshold`: a share from 0 to 1."""

    workflow: str | None
    run: str | None
    since: str
    threshold: float
    limit: int


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--workflow", metavar="NAME", help="only runs of this workflow")
    which.add_argument("--run", metavar="ID", help="only this run; it need not have ended")
    parser.add_argument(
        "--threshold",
        metavar="SHARE",
        type=decimal("a share", most=1),
        default=0.5,
        help="share of the time above which a node is a bottleneck (default: 0.5)",
    )
    report_options(parser, since="runs that were created then or later; not with --run", items="runs", limit=200)
    carry_out(parser, ProfileReportArgs, partial(at_the_stack, _report))


def _report(client: Client, args: ProfileReportArgs) -> int:
    if args.run is not None:
        profile = client.profile(find_run(client, args.run), threshold=args.threshold)
        if args.json:
            print_json(as_data(profile))
        else:
            _print_run(profile)
        return exits.OK
    report = client.profiles(workflow=args.workflow, since=args.since, threshold=args.threshold, limit=args.limit)
    if args.json:
        print_json(as_data(report))
    elif report.wall is None or report.spent is None:
        put(f"no finished runs{_of(report.workflow)} that were submitted since {when(report.since)}")
    else:
        _print_runs(report, report.spent, report.wall)
    return exits.OK


def _of(workflow: str | None) -> str:
    return f" of workflow {workflow}" if workflow else ""


def _print_run(profile: RunProfile) -> None:
    print_facts(
        [
            ("run", profile.run_id),
            ("workflow", profile.workflow),
            ("status", profile.status),
            ("created", when(profile.created_at)),
            ("wall time", seconds(profile.wall_s) + ("" if profile.finished_at else " so far")),
            ("at work", seconds(profile.at_work_s)),
        ]
    )
    put()
    spent = profile.spent_s.model_dump()
    whole_s = profile.wall_s or math.inf  # all shares of nothing are 0 %
    shares = [(name, seconds(spent[name]), percent(spent[name] / whole_s)) for name in CATEGORIES]
    print_table(("where", "time", "share"), [*shares, ("total", seconds(profile.wall_s), percent(1.0))], empty="")
    put()
    rows = [_node(node, profile) for node in profile.nodes]
    print_table(("node", "steps", "retries", "busy", "model", "share", " "), rows, empty="no steps yet")
    if profile.nodes:
        slowest = profile.nodes[0]
        none = f"no bottleneck: no node took more than {percent(profile.threshold)}; "
        took = f"{slowest.node} took {percent(slowest.share)} of the time at work"
        put(f"\n{none if profile.bottleneck is None else 'bottleneck: '}{took}")


def _node(node: NodeTimes, profile: RunProfile) -> tuple[object, ...]:
    mark = _mark(is_slowest=node is profile.nodes[0], is_bottleneck=node.node == profile.bottleneck)
    times = seconds(node.busy_s), seconds(node.model_s)
    return node.node, node.steps, node.retries, *times, percent(node.share), mark


def _mark(*, is_slowest: bool, is_bottleneck: bool = False) -> str:
    if is_bottleneck:
        return "<- bottleneck"
    return "<- slowest" if is_slowest else " "


def _print_runs(report: ProfileReport, spent: SpreadOfSpent, wall: SpreadView) -> None:
    put(f"{plural(report.runs, 'finished run')}{_of(report.workflow)}, submitted since {when(report.since)}\n")
    parts = [(name, *_spread(getattr(spent, name))) for name in CATEGORIES]
    print_table(("where", "mean", "p50", "p95", "p99"), [*parts, ("wall time", *_spread(wall))], empty="")
    put()
    rows = [_node_spread(node, report) for node in report.nodes]
    print_table(("node", "runs", "retries", "busy", "p50", "p95", "p99", "share", " "), rows, empty="no steps")
    put()
    slow = [
        (run.run_id, run.workflow, run.status, seconds(run.wall_s), run.bottleneck, _mark(is_slowest=number == 0))
        for number, run in enumerate(report.slowest)
    ]
    print_table(("run", "workflow", "status", "wall time", "bottleneck", " "), slow, empty="")
    put()
    bottlenecks = [
        f"bottleneck of {node.workflow}: {node.node} took {percent(node.share)} of the time at work"
        for node in report.nodes
        if node.bottleneck
    ]
    none = f"no bottleneck: no node took more than {percent(report.threshold)} of its workflow's time at work"
    put("\n".join(bottlenecks) or none)


def _node_spread(node: NodeSpreadView, report: ProfileReport) -> tuple[object, ...]:
    mark = _mark(is_slowest=node is report.nodes[0], is_bottleneck=node.bottleneck)
    name = f"{node.workflow}.{node.node}"
    return name, node.runs, node.retries, *_spread(node.busy), percent(node.share), mark


def _spread(spread: SpreadView) -> tuple[str, ...]:
    return tuple(seconds(value) for value in (spread.mean_s, spread.p50_s, spread.p95_s, spread.p99_s))
