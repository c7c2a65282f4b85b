"""Where a run's time went: by category, which add up to its wall time, and by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

from flowyard.runs.entries import StoredEvent
from flowyard.runs.summary import BOTTLENECK
from flowyard.runs.timeline import Condition, Interval, NodeIntervals, Timeline

Category: TypeAlias = Literal["queued", "claim", "model", "tool", "code", "commit", "waiting"]
"""`claim`: from the claim of the run to its first step; `commit`: until results are on disk; `code`: all other work.

`waiting`: for a step's next try, for the lease of a lost executor to run out, for a retry of the run.
"""
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)

_NONE: Final = timedelta()


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """`busy`: how long at least one of its steps was at work; `model`: how long at least one waited for a model.

    `share`: the part of the run's time at work that is `busy`, from 0 to 1.
    """

    node: str
    steps: int
    retries: int
    busy: timedelta
    model: timedelta
    share: float


@dataclass(frozen=True, slots=True)
class Profile:
    """`wall`: from the run's submission to its end; `spent`: the same time by category, which add up to `wall` exactly.

    `at_work`: how long an executor had the run; `nodes`: those that had steps, slowest first.
    """

    wall: timedelta
    spent: Mapping[Category, timedelta]
    at_work: timedelta
    nodes: Sequence[NodeProfile]

    def bottleneck(self, threshold: float = BOTTLENECK) -> NodeProfile | None:
        """The slowest node, if strictly more than `threshold` of the time at work went to it."""
        return next((node for node in self.nodes[:1] if node.share > threshold), None)


def profile_of(events: Iterable[StoredEvent], created_at: datetime, ended_at: datetime) -> Profile:
    """`events`: all that the run has, in order. `ended_at`: when the run finished, or now for an open run."""
    timeline = Timeline(created_at, ended_at)
    timeline.read(events)
    at_work = united(timeline.intervals["claimed"])
    nodes = [_node(name, times, at_work) for name, times in timeline.nodes.items()]
    nodes.sort(key=lambda node: (-node.busy, node.node))
    return Profile(timeline.ended - timeline.began, _spent(timeline), at_work, nodes)


def united(intervals: Iterable[Interval]) -> timedelta:
    """How long at least one of the intervals lasted."""
    total, covered = _NONE, None
    for start, end in sorted(intervals):
        begin = start if covered is None else max(start, covered)
        if end > begin:
            total += end - begin
            covered = end
    return total


def _node(name: str, times: NodeIntervals, at_work: timedelta) -> NodeProfile:
    busy = united(times.steps)
    share = busy / at_work if at_work else 0.0
    return NodeProfile(name, len(times.ids), times.retries, busy, united(times.calls), share)


def _spent(timeline: Timeline) -> dict[Category, timedelta]:
    """Each instant goes to one category, so that the categories add up."""
    edges = sorted(
        edge
        for condition, intervals in timeline.intervals.items()
        for start, end in intervals
        for edge in ((start, condition, 1), (end, condition, -1))
    )
    spent = dict.fromkeys(CATEGORIES, _NONE)
    holding: Counter[Condition] = Counter()
    before = timeline.began
    for at, condition, change in edges:
        spent[_category(holding)] += at - before
        holding[condition] += change
        before = at
    spent[_category(holding)] += timeline.ended - before
    return spent


def _category(holding: Counter[Condition]) -> Category:
    """The first that applies. `holding`: how many times each condition holds."""
    if holding["model"]:
        return "model"
    if holding["tool"]:
        return "tool"
    if holding["committing"]:
        return "commit"
    if holding["resting"] and holding["resting"] == holding["step"]:
        return "waiting"
    if holding["preparing"]:
        return "claim"
    if holding["claimed"]:
        return "code"
    return "waiting" if holding["waiting"] else "queued"
