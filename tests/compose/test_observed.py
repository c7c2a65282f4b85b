"""What the ledger, MLflow, Prometheus and the dashboards say of runs on containers."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import httpx

from support.compose import Composed
from support.mlflow import Mlflow, pairs
from support.panels import until_all_show_something
from support.prometheus import measures
from support.system import EXECUTORS
from support.visitor import JsonObject, Visitor
from support.waiting import eventually

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


async def priced_run(visitor: Visitor) -> JsonObject:
    # By the name under which every executor knows this machine.
    url = visitor.model.server.url.replace(httpx.URL(visitor.model.server.url).host, "host.docker.internal")
    await visitor.apply("priced", PRICED.replace("URL", url))
    return await visitor.ended(await visitor.submit("priced", topic="rain"))


async def traced(mlflow: Mlflow, run_id: str) -> Any:
    """Its trace, as soon as it is there."""

    async def look() -> Any:
        with suppress(httpx.HTTPStatusError):
            return await asyncio.to_thread(mlflow.trace, UUID(run_id))

    return await eventually(look, WITHIN_S)


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


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
    finished = 'flowyard_runs_finished_total{workflow="priced", status="succeeded"}'
    for query, wanted in (
        (f"sum({finished})", 1),
        (f"sum(flowyard_model_calls_total{model})", 2),
        (f"sum(flowyard_model_cost_usd_total{model})", float(cost)),
        ('count(up{job="executor"} == 1)', len(EXECUTORS)),
    ):
        await measures(compose.project.url("prometheus"), query, wanted, within_s=WITHIN_S)


async def test_no_panel_of_the_dashboards_is_empty_or_broken(visitor: Visitor, compose: Composed) -> None:
    await until_all_show_something(visitor, compose.project.url("prometheus"), within_s=WITHIN_S)
