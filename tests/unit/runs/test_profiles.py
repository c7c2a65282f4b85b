"""Profiles of many runs, summed up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.runs.profile import CATEGORIES, NodeProfile, Profile
from flowyard.runs.profiles import SLOWEST, ProfiledRun, spread, summed_up

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NONE = timedelta()


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def run(number: int, workflow: str = "w", *, queued: float = 0, **busy: float) -> ProfiledRun:
    """Queued for a while, and then busy with one node after the other."""
    at_work = seconds(sum(busy.values()))
    nodes = [
        NodeProfile(name, 1, 0, seconds(time), seconds(time), seconds(time) / at_work)
        for name, time in sorted(busy.items(), key=lambda one: -one[1])
    ]
    wall = at_work + seconds(queued)
    spent = {**dict.fromkeys(CATEGORIES, NONE), "queued": seconds(queued), "model": at_work}
    profile = Profile(wall, spent, at_work, nodes)
    return ProfiledRun(UUID(int=number), workflow, "succeeded", BEGAN, BEGAN + wall, profile)


def test_of_no_runs_there_is_nothing_to_show() -> None:
    summary = summed_up([])
    assert (summary.runs, summary.wall, summary.spent, summary.nodes, summary.slowest) == (0, None, {}, (), ())
    assert summary.bottlenecks(0.5) == []


def test_each_category_and_each_node_has_its_spread_over_the_runs_that_had_it() -> None:
    summary = summed_up([run(1, queued=1, a=2), run(2, queued=3, a=4, b=6)])
    assert summary.spent["queued"].mean == 2
    assert summary.wall is not None
    assert (summary.wall.p50, summary.spent["model"].p50) == (8, 6)
    assert [(node.node, node.runs, node.busy.mean) for node in summary.nodes] == [("a", 2, 3), ("b", 1, 6)]
    assert [node.share for node in summary.nodes] == [0.5, 0.5]


def test_a_workflows_bottleneck_took_strictly_more_than_the_threshold_of_all_its_runs() -> None:
    summary = summed_up([run(1, "v", a=5, b=5), run(2, "w", a=9, b=1), run(3, "w", b=2)])
    assert [(node.workflow, node.node) for node in summary.bottlenecks(0.5)] == [("w", "a")]
    assert [(node.workflow, node.node) for node in summary.bottlenecks(0.4)] == [("w", "a"), ("v", "a")]
    assert summary.bottlenecks(0.75) == []


def test_the_slowest_runs_are_ordered_by_their_wall_time() -> None:
    summary = summed_up([run(number, queued=number % 7) for number in range(10)])
    assert [one.profile.wall.total_seconds() for one in summary.slowest] == [6, 5, 4, 3, 2]
    assert len(summary.slowest) == SLOWEST


@pytest.mark.parametrize(
    ("values", "percentiles"), [([3], (3, 3, 3)), ([1, 2], (1.5, 1.95, 1.99)), (range(101), (50, 95, 99))]
)
def test_percentiles_are_interpolated_as_postgres_does(
    values: list[float], percentiles: tuple[float, float, float]
) -> None:
    spread_of_values = spread([seconds(value) for value in values])
    assert (spread_of_values.p50, spread_of_values.p95, spread_of_values.p99) == pytest.approx(percentiles)


@given(st.lists(st.timedeltas(min_value=NONE, max_value=timedelta(days=9)), min_size=1))
def test_percentiles_lie_within_what_there_is(values: list[timedelta]) -> None:
    spread_of_values = spread(values)
    least, most = min(values).total_seconds(), max(values).total_seconds()
    assert least <= spread_of_values.p50 <= spread_of_values.p95 <= spread_of_values.p99 <= most
    assert least - 1e-6 <= spread_of_values.mean <= most + 1e-6
