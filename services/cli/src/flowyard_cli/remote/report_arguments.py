"""The grammar of the reports. Imports nothing heavy, as its neighbour."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from flowyard.api.moments import read_moment

_GROUPS: Final = ("provider", "model", "workflow", "node", "day", "run")
_SINCE: Final = "7d"
_MOST: Final = 1000
_COSTS: Final = 50
_RUNS: Final = 200


def add_report_commands(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """`command`: adds a parser that finds the stack: to what, the command's name, what it does, examples."""
    _cost_report(commands, command)
    _profile_report(commands, command)


def _cost_report(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "cost-report",
        "Show what model calls came to, and the most expensive of them.",
        """\
  flowyard cost-report
  flowyard cost-report --by node --workflow triage --since 24h
  flowyard cost-report --by day --since 2026-11-01 --json

Sums are exact. What nobody knows isn't taken for nothing: `≥ $0.12 (3 calls unknown)`.""",
    )
    parser.add_argument("--by", choices=_GROUPS, default="model", help="what to group by (default: model)")
    _since(parser, "calls that ended then or later")
    parser.add_argument("--workflow", metavar="NAME", help="only its calls")
    _limit(parser, "groups", _COSTS)


def _profile_report(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "profile-report",
        "Show where the time of runs went, and their bottlenecks.",
        """\
  flowyard profile-report
  flowyard profile-report --workflow triage --since 24h
  flowyard profile-report --run 019adf3c --threshold 0.3

A bottleneck is a node that more than half of the time at work went to, or more than --threshold of it.""",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--workflow", metavar="NAME", help="only its runs")
    which.add_argument("--run", metavar="ID", help="this run alone; it may still be at work")
    _since(parser, "runs made then or later; not with --run")
    parser.add_argument(
        "--threshold", metavar="SHARE", type=_share, default=0.5, help="above it a node is a bottleneck (default: 0.5)"
    )
    _limit(parser, "runs", _RUNS)


def _since(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--since", metavar="TIME", type=_moment, default=_SINCE, help=f"{what} (default: {_SINCE})")


def _limit(parser: argparse.ArgumentParser, what: str, default: int) -> None:
    parser.add_argument(
        "--limit", metavar="N", type=_most, default=default, help=f"no more {what} than this (default: {default})"
    )


def _moment(text: str) -> str:
    try:
        read_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' {error}") from error
    return text


def _most(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST:
        return int(text)
    raise argparse.ArgumentTypeError(f"should be a number from 1 to {_MOST}, not '{text}'")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if 0 <= share <= 1:
        return share
    raise argparse.ArgumentTypeError(f"should be a share from 0 to 1, not '{text}'")
