"""The profiles of many runs together: means and percentiles of how long each part takes."""

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
"""How many of the slowest runs a summary has."""


@dataclass(frozen=True, slots=True)
class ProfiledRun:
    """A finished run and its profile."""

    run_id: UUID
    workflow: str
    status: State
    created_at: datetime
    finished_at: datetime
    profile: Profile


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean and percentiles of some durations, in seconds. Means add up, percentiles don't."""

    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class NodeSpread:
    """One node over the runs in which it was executed. `share`: of the time at work of all runs of its workflow."""

    workflow: str
    node: str
    runs: int
    retries: int
    busy: Spread
    model: Spread
    share: float


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """`nodes`: the largest share first. `slowest`: the runs with the longest wall time, longest first.

    `wall` is None, and nothing in `spent`, where there are no runs.
    """

    runs: int
    wall: Spread | None
    spent: Mapping[Category, Spread]
    nodes: Sequence[NodeSpread]
    slowest: Sequence[ProfiledRun]

    def bottlenecks(self, threshold: float) -> list[NodeSpread]:
        """The slowest node of each workflow, if its share is more than `threshold`."""
        first = {node.workflow: node for node in reversed(self.nodes)}
        return [node for node in self.nodes if node is first[node.workflow] and node.share > threshold]


def summed_up(runs: Sequence[ProfiledRun]) -> ProfileSummary:
    """Any number of runs, of any workflows."""
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
    """`durations`: at least one. Percentiles are interpolated between values, as Postgres' `percentile_cont` does."""
    values = sorted(duration.total_seconds() for duration in durations)
    mean = sum(durations, timedelta()).total_seconds() / len(values)
    return Spread(mean, *(_percentile(values, part) for part in (0.5, 0.95, 0.99)))


def _percentile(values: Sequence[float], part: float) -> float:
    index = part * (len(values) - 1)
    below, above = values[math.floor(index)], values[math.ceil(index)]
    return below + (above - below) * (index - math.floor(index))


def _nodes(runs: Sequence[ProfiledRun]) -> list[NodeSpread]:
    at_work: dict[str, timedelta] = defaultdict(timedelta)
    profiles: dict[tuple[str, str], list[NodeProfile]] = defaultdict(list)
    for run in runs:
        at_work[run.workflow] += run.profile.at_work
        for node in run.profile.nodes:
            profiles[run.workflow, node.node].append(node)
    nodes = [_node(workflow, name, of_node, at_work[workflow]) for (workflow, name), of_node in profiles.items()]
    return sorted(nodes, key=lambda node: (-node.share, node.workflow, node.node))


def _node(workflow: str, name: str, profiles: Sequence[NodeProfile], at_work: timedelta) -> NodeSpread:
    busy = [node.busy for node in profiles]
    share = sum(busy, timedelta()) / at_work if at_work else 0.0
    retries = sum(node.retries for node in profiles)
    return NodeSpread(
        workflow, name, len(profiles), retries, spread(busy), spread([node.model for node in profiles]), share
    )
