"""What a real Prometheus has to say to the dashboards, after runs on a real system."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Final

import pytest

from support.panels import SOMETIMES, run_some, until_all_show_something
from support.prometheus import measures, series_of
from support.visitor import Visitor
from support.waiting import eventually

# Prometheus needs several looks at each replica.
pytestmark = pytest.mark.timeout(120)

WITHIN_S: Final = 40
RUNS: Final = 6


@pytest.fixture
async def after_runs(visitor: Visitor, prometheus_url: str) -> str:
    """Ordinary runs, and some that fail; and again, since what never changes has no rate."""
    for _ in range(2):
        await run_some(visitor)
        await eventually(partial(is_scraped_since, prometheus_url, time.time()))
    return prometheus_url


async def is_scraped_since(prometheus_url: str, moment: float) -> bool:
    """Whether Prometheus has read every replica since then; `moment` is a Unix time."""
    scrapes = [float(series["value"][1]) for series in await series_of(prometheus_url, "timestamp(up)")]
    return bool(scrapes) and min(scrapes) > moment


async def test_no_panel_is_empty_or_broken_after_ordinary_runs(visitor: Visitor, prometheus_url: str) -> None:
    await until_all_show_something(visitor, prometheus_url, within_s=WITHIN_S)


async def test_prometheus_counts_the_runs_that_there_were_on_every_replica(
    visitor: Visitor, prometheus_url: str
) -> None:
    await visitor.apply("counted", SOMETIMES.replace("name: sometimes", "name: counted"))
    await visitor.all_ended([await visitor.submit("counted", topic="tea") for _ in range(RUNS)])
    ended = 'flowyard_runs_finished_total{job="executor", workflow="counted", status="succeeded"}'
    for query, wanted in (
        ('sum(flowyard_runs_submitted_total{workflow="counted"})', RUNS),
        (f"sum({ended})", RUNS),
        ('count(up{job="executor"} == 1)', 2),
    ):
        await measures(prometheus_url, query, wanted, within_s=WITHIN_S)


async def test_a_healthy_system_rings_no_alert(after_runs: str) -> None:
    def ours(alert: dict[str, Any]) -> bool:
        # One run of three fails on purpose.
        return alert["metric"]["alertname"] not in {"FlowyardRunsFailing", "FlowyardModelErrors"}

    alerts = await series_of(after_runs, 'ALERTS{alertstate=~"pending|firing"}')
    assert [alert["metric"] for alert in alerts if ours(alert)] == []
