"""What a real Prometheus has to say to the dashboards, after runs on a real system."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx
import pytest

from support.executors import until_async
from support.panels import empty_or_broken
from support.visitor import Visitor
from support.wire.behaviour import Behaviour, Status, Text

WITHIN_S: Final = 40
RUNS: Final = 6
POEM: Final = """\
flow: {name: poem}
state:
  fields:
    topic: {type: str, required: true}
    draft: str
    poem: str
nodes:
  - {id: draft, prompt: 'Draft {topic}.', outputs: [draft]}
  - {id: write, prompt: 'Write {draft}.', outputs: [poem], retry: 0}
config:
  llm: MODEL
"""
SOMETIMES: Final[dict[str, Behaviour]] = {
    "Draft rain.": Text("a fine draft", cached=8),
    "Draft fog.": Text("fog", cached=8),
    "Write fog.": Status(500),
}


async def ask(url: str, query: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=url) as http:
        found = (await http.get("/api/v1/query", params={"query": query})).json()
    result: list[dict[str, Any]] = found["data"]["result"]
    return result


async def number(url: str, query: str) -> float:
    """NaN where there is none."""
    found = await ask(url, query)
    return float(found[0]["value"][1]) if found else float("nan")


@pytest.fixture
async def after_runs(visitor: Visitor, prometheus_url: str) -> str:
    """Ordinary runs, and one that fails; and again, since what never changes has no rate."""
    visitor.model.replies.update(SOMETIMES)
    await visitor.apply("poem", POEM)
    for _ in range(2):
        topics = ["fog", *["rain"] * (RUNS // 2 - 1)]
        ended = await visitor.all_ended([await visitor.submit("poem", topic=topic) for topic in topics])
        assert {run["status"] for run in ended} == {"failed", "succeeded"}
        # Two looks of Prometheus.
        await asyncio.sleep(2.5)
    return prometheus_url


async def test_no_panel_is_empty_or_broken_after_ordinary_runs(after_runs: str) -> None:
    seen: list[list[str]] = []

    async def all_show_something() -> bool:
        seen.append(await asyncio.to_thread(empty_or_broken, after_runs))
        return not seen[-1]

    try:
        await until_async(all_show_something, WITHIN_S)
    except TimeoutError:
        pytest.fail("\n".join(seen[-1]))


async def test_prometheus_counts_the_runs_that_there_were_on_every_replica(
    visitor: Visitor, prometheus_url: str
) -> None:
    await visitor.apply("counted", POEM.replace("name: poem", "name: counted"))
    await visitor.all_ended([await visitor.submit("counted", topic="tea") for _ in range(RUNS)])

    async def seen() -> bool:
        taken = await number(prometheus_url, 'sum(flowyard_runs_submitted_total{workflow="counted"})')
        ended = 'sum(flowyard_runs_finished_total{job="executor", workflow="counted", status="succeeded"})'
        return taken == await number(prometheus_url, ended) == RUNS

    await until_async(seen, WITHIN_S)
    assert await number(prometheus_url, 'count(up{job="executor"} == 1)') == 2


async def test_a_healthy_system_rings_no_alert(after_runs: str) -> None:
    def ours(alert: dict[str, Any]) -> bool:
        # One run of three fails on purpose.
        return alert["metric"]["alertname"] not in {"FlowyardRunsFailing", "FlowyardModelErrors"}

    alerts = await ask(after_runs, 'ALERTS{alertstate=~"pending|firing"}')
    assert [alert["metric"] for alert in alerts if ours(alert)] == []
