"""The profiles of many runs, summed up: how long things usually take, and how long at worst."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from flowyard.runs.profile import CATEGORIES, Category, NodeProfile, Profile
from flowyard.runs.run import State

SLOWEST: Final = 5
"""How many of the slowest runs are told."""


@dataclass(frozen=True, slots=True)
class ProfiledRun:
    """A run that has finished."""

    run_id: UUID
    workflow: str
    status: State
    created_at: datetime
    finished_at: datetime
    profile: Profile


@dataclass(frozen=True, slots=True)
class Spread:
    """Of durations, in seconds. Percentiles don't add up; means do."""

    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class NodeSpread:
    """One node over the runs that had it. `share`: of the time at work of all runs of its workflow."""

    workflow: str
    node: str
    runs: int
    retries: int
    busy: Spread
    model: Spread
    share: float


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """`nodes`: those that took most of their workflow's time first. `slowest`: by wall time.

    `wall` is None, and nothing in `spent`, where there are no runs.
    """

    runs: int
    wall: Spread | None
    spent: Mapping[Category, Spread]
    nodes: Sequence[NodeSpread]
    slowest: Sequence[ProfiledRun]

    def bottlenecks(self, threshold: float) -> list[NodeSpread]:
        """Of each workflow the slowest node, if strictly more than `threshold` of the time at work went to it."""
        first = {node.workflow: node for node in reversed(self.nodes)}
        return [node for node in self.nodes if node is first[node.workflow] and node.share > threshold]


def summed_up(runs: Sequence[ProfiledRun]) -> ProfileSummary:
    if not runs:
        return ProfileSummary(0, None, {}, (), ())
    return ProfileSummary(
        len(runs),
        spread([run.profile.wall for run in runs]),
        {category: spread([run.profile.spent[category] for run in runs]) for category in CATEGORIES},
        _nodes(runs),
        sorted(runs, key=lambda run: run.profile.wall, reverse=True)[:SLOWEST],
    )


def spread(durations: Sequence[timedelta]) -> Spread:
    """Of at least one. Between two values it is interpolated, as Postgres' `percentile_cont` does."""
    values = sorted(duration.total_seconds() for duration in durations)
    mean = sum(durations, timedelta()).total_seconds() / len(values)
    return Spread(mean, *(_percentile(values, part) for part in (0.5, 0.95, 0.99)))


def _percentile(values: Sequence[float], part: float) -> float:
    place = part * (len(values) - 1)
    below, above = values[math.floor(place)], values[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))


def _nodes(runs: Sequence[ProfiledRun]) -> list[NodeSpread]:
    at_work: dict[str, timedelta] = defaultdict(timedelta)
    found: dict[tuple[str, str], list[NodeProfile]] = defaultdict(list)
    for run in runs:
        at_work[run.workflow] += run.profile.at_work
        for node in run.profile.nodes:
            found[run.workflow, node.node].append(node)
    nodes = [_node(workflow, name, seen, at_work[workflow]) for (workflow, name), seen in found.items()]
    return sorted(nodes, key=lambda node: (-node.share, node.workflow, node.node))


def _node(workflow: str, name: str, seen: Sequence[NodeProfile], at_work: timedelta) -> NodeSpread:
    busy = [node.busy for node in seen]
    share = sum(busy, timedelta()) / at_work if at_work else 0.0
    retries = sum(node.retries for node in seen)
    return NodeSpread(workflow, name, len(seen), retries, spread(busy), spread([node.model for node in seen]), share)
