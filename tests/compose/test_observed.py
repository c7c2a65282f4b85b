"""What the ledger, MLflow, Prometheus and the dashboards say of runs on containers."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from support.compose import Composed
from support.executors import until_async
from support.mlflow import Mlflow, pairs
from support.panels import empty_or_broken
from support.system import EXECUTORS
from support.visitor import Found, Visitor
from support.wire.behaviour import Behaviour, Status, Text

WITHIN_S: Final = 90
PRICED: Final = """\
flow: {name: priced}
state:
  fields:
    topic: {type: str, required: true}
    plan: str
    poem: str
nodes:
  - {id: think, prompt: 'Think {topic}.', outputs: [plan]}
  - {id: write, prompt: 'Write {plan}.', outputs: [poem]}
config:
  llm: {provider: openai, model: gpt-4o-mini, api_base: 'URL'}
"""
SOMETIMES: Final = """\
flow: {name: sometimes}
state:
  fields:
    topic: {type: str, required: true}
    draft: str
    poem: str
nodes:
  - {id: draft, prompt: 'Draft {topic}.', outputs: [draft]}
  - {id: write, prompt: 'Write {topic}.', outputs: [poem], retry: 0}
config:
  llm: MODEL
"""
REPLIES: Final[dict[str, Behaviour]] = {"Draft fog.": Text("a draft", cached=8), "Write fog.": Status(500)}


async def priced_run(visitor: Visitor) -> Found:
    # By the name under which every executor knows this machine.
    url = visitor.model.server.url.replace(httpx.URL(visitor.model.server.url).host, "host.docker.internal")
    await visitor.apply("priced", PRICED.replace("URL", url))
    return await visitor.ended(await visitor.submit("priced", topic="rain"))


async def traced(mlflow: Mlflow, run_id: str) -> Any:
    """Its trace, as soon as it is there."""

    async def look() -> Any:
        with suppress(httpx.HTTPStatusError):
            return await asyncio.to_thread(mlflow.trace, UUID(run_id))

    return await until_async(look, WITHIN_S)


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


async def measures(prometheus: httpx.AsyncClient, query: str, wanted: float) -> None:
    """Returns when it does: it looks every few seconds."""
    seen: list[str] = []

    async def look() -> bool:
        found = (await prometheus.get("/api/v1/query", params={"query": query})).json()["data"]["result"]
        seen.append(found[0]["value"][1] if found else "nothing")
        await asyncio.sleep(0.5)
        return bool(found) and float(seen[-1]) == pytest.approx(wanted)

    try:
        await until_async(look, WITHIN_S)
    except TimeoutError:
        pytest.fail(f"{query}: {seen[-1]}, and not {wanted}")


async def test_the_ledger_mlflow_and_prometheus_agree_on_a_run(visitor: Visitor, compose: Composed) -> None:
    run = await priced_run(visitor)
    spent = run["spending"]
    assert (run["status"], spent["calls"]) == ("succeeded", 2), run["error"]
    cost = Decimal(spent["cost_usd"])
    assert cost > 0
    for by in ("node", "model", "day", "workflow", "provider"):
        report = await visitor.get("/v1/costs", by=by, run_id=run["id"])
        assert (report["total"]["calls"], Decimal(report["total"]["cost_usd"])) == (2, cost)
        assert sum(Decimal(group["cost_usd"]) for group in report["items"]) == cost

    mlflow = Mlflow(compose.project.url("mlflow"), pid=0)
    trace = await traced(mlflow, run["id"])
    spans = [attributes(span) for span in trace["spans"]]
    calls = [span for span in spans if span.get("gen_ai.operation.name") == "chat"]
    assert (len(calls), sum(Decimal(span["flowyard.cost_usd"]) for span in calls)) == (2, cost)
    usage = json.loads(trace["trace_info"]["trace_metadata"]["mlflow.trace.tokenUsage"])
    assert (usage["input_tokens"], usage["output_tokens"]) == (spent["tokens_in"], spent["tokens_out"])
    (kept,) = mlflow.runs_of("priced", UUID(run["id"]))
    assert Decimal(str(pairs(kept, "metrics")["total_cost_usd"])) == cost

    model = '{provider="openai", model="gpt-4o-mini"}'
    async with httpx.AsyncClient(base_url=compose.project.url("prometheus"), timeout=20) as prometheus:
        finished = 'flowyard_runs_finished_total{workflow="priced", status="succeeded"}'
        await measures(prometheus, f"sum({finished})", 1)
        await measures(prometheus, f"sum(flowyard_model_calls_total{model})", 2)
        await measures(prometheus, f"sum(flowyard_model_cost_usd_total{model})", float(cost))
        await measures(prometheus, 'count(up{job="executor"} == 1)', len(EXECUTORS))


async def test_no_panel_of_the_dashboards_is_empty_or_broken(visitor: Visitor, compose: Composed) -> None:
    visitor.model.replies.update(REPLIES)
    await visitor.apply("sometimes", SOMETIMES)
    seen: list[list[str]] = []

    async def all_show_something() -> bool:
        # What never changes has no rate.
        runs = [await visitor.submit("sometimes", topic=topic) for topic in ("fog", "rain")]
        assert {run["status"] for run in await visitor.all_ended(runs)} == {"failed", "succeeded"}
        seen.append(await asyncio.to_thread(empty_or_broken, compose.project.url("prometheus")))
        await asyncio.sleep(2 * bool(seen[-1]))
        return not seen[-1]

    try:
        await until_async(all_show_something, WITHIN_S)
    except TimeoutError:
        pytest.fail("\n".join(seen[-1]))
