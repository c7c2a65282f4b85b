"""MLflow receives real runs, and what its own API says of them afterwards is what the ledger says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any, Final, Protocol
from uuid import UUID

import httpx
import pytest

from flowyard.export.addresses import MLFLOW
from flowyard.export.client import open_client
from flowyard.export.mlflow_cleaning import delete_before
from flowyard_embedded.servers.ports import free_port
from support.executors import Yard
from support.exporting import all_exported, exported_to_mlflow, exporters, listening, mlflow_target
from support.mlflow import Mlflow, pairs
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Status, Text

# The first test of a machine installs MLflow.
pytestmark = pytest.mark.timeout(300)


class Replying(Protocol):
    says: Behaviour


PRICED: Final = """
flow: {name: priced}
state:
  fields:
    topic: {type: str, required: true}
    plan: str
    poem: str
nodes:
  - {id: think, prompt: "think {topic}", outputs: [plan], log_prompts: false, llm: {temperature: 0.5, max_tokens: 50}}
  - {id: write, prompt: "write {plan}", outputs: [poem]}
config:
  llm: {provider: openai, model: gpt-4o-mini, api_base: "URL"}
"""
MIXED: Final = """
flow: {name: mixed}
state:
  fields:
    topic: {type: str, required: true}
    plan: str
    poem: str
nodes:
  - {id: think, prompt: "think {topic}", outputs: [plan], llm: {provider: openai, model: gpt-4o-mini, api_base: "URL"}}
  - {id: write, prompt: "write {plan}", outputs: [poem], llm: {provider: hosted_vllm, model: gpt-4o, api_base: "URL"}}
"""
UNPRICED: Final = """
flow: {name: unpriced}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: "write {topic}", outputs: [poem], retry: {max_retries: 0}}
config: {llm: MODEL}
"""


LATER: Final = UNPRICED.replace("unpriced", "later")


@pytest.fixture(autouse=True)
def openai_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")


async def finished(yard: Yard, document: str, **inputs: Any) -> UUID:
    name = await yard.apply(document.replace("URL", yard.model.url))
    run_id = await yard.submit(name, **inputs)
    await yard.ended(run_id, within_s=30)
    return run_id


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: _plain(one["value"]) for one in span["attributes"]}


def _plain(value: dict[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    if kind == "kvlist_value":
        return {one["key"]: _plain(one["value"]) for one in inner.get("values", [])}
    if kind == "array_value":
        return [_plain(one) for one in inner.get("values", [])]
    return inner


def shown(trace: dict[str, Any], name: str) -> Any:
    """One of the sums that MLflow shows of a trace."""
    text = trace["trace_info"]["trace_metadata"].get(name)
    return json.loads(text) if text else None


async def test_what_mlflow_shows_of_a_run_is_what_the_ledger_says(yard: Yard, mlflow: Mlflow) -> None:
    await listening(yard.database, MLFLOW)
    await yard.executor("one", log_prompts="true")
    run_id = await finished(yard, PRICED, topic="rain")
    async with exported_to_mlflow(yard.database, mlflow.url) as metrics:
        await all_exported(yard.database, MLFLOW)
    run, calls = await yard.runs.get(run_id), await yard.history.calls(run_id)
    assert run.status == "succeeded", run.error
    assert run.spending.cost_usd is not None
    assert run.spending.cost_usd > 0
    trace = mlflow.trace(run_id)
    assert trace["trace_info"]["state"] == "OK"
    assert shown(trace, "mlflow.trace.cost")["total_cost"] == pytest.approx(float(run.spending.cost_usd), rel=1e-12)
    usage = shown(trace, "mlflow.trace.tokenUsage")
    assert (usage["input_tokens"], usage["output_tokens"]) == (run.spending.tokens_in, run.spending.tokens_out)
    spans = [attributes(span) for span in trace["spans"]]
    rows = [span for span in spans if span.get("gen_ai.operation.name") == "chat"]
    assert [Decimal(span["flowyard.cost_usd"]) for span in rows] == [call.cost_usd for call in calls]
    [root] = [span for span in spans if span.get("gen_ai.operation.name") == "invoke_workflow"]
    assert Decimal(root["flowyard.cost_usd"]) == run.spending.cost_usd
    [kept] = mlflow.runs_of("priced", run_id)
    numbers = pairs(kept, "metrics")
    assert (kept["info"]["status"], kept["info"]["run_name"]) == ("FINISHED", str(run_id))
    assert Decimal(str(numbers["total_cost_usd"])) == run.spending.cost_usd
    assert Decimal(str(numbers["provider_openai_cost_usd"])) == run.spending.cost_usd
    assert numbers["node_think_cost_usd"] + numbers["node_write_cost_usd"] == pytest.approx(numbers["total_cost_usd"])
    assert numbers["duration_ms"] >= numbers["node_think_duration_ms"] + numbers["node_write_duration_ms"] > 0
    params = pairs(kept, "params")
    assert (params["revision"], params["digest"], params["models"]) == ("1", run.digest, "openai/gpt-4o-mini")
    assert params["input.topic"] == "rain"
    assert metrics.value("flowyard_export_runs_total", target="mlflow") == 1
    assert metrics.value("flowyard_export_backlog_runs", target="mlflow") is not None


async def test_inputs_and_outputs_are_shown_and_prompts_only_of_nodes_that_log_them(yard: Yard, mlflow: Mlflow) -> None:
    await listening(yard.database, MLFLOW)
    await yard.executor("one", log_prompts="true")
    run_id = await finished(yard, PRICED, topic="rain")
    async with exported_to_mlflow(yard.database, mlflow.url):
        await all_exported(yard.database, MLFLOW)
    spans = {span["name"]: attributes(span) for span in mlflow.trace(run_id)["spans"]}
    root, think, write = (spans[name] for name in ("invoke_workflow priced", "step think", "step write"))
    assert (root["mlflow.spanType"], think["mlflow.spanType"]) == ("WORKFLOW", "CHAIN")
    assert root["mlflow.spanInputs"] == {"topic": "rain"}
    assert (think["mlflow.spanInputs"], think["mlflow.spanOutputs"]) == ({"topic": "rain"}, {"plan": "done"})
    assert (write["mlflow.spanInputs"], write["mlflow.spanOutputs"]) == ({"plan": "done"}, {"poem": "done"})
    calls = [attributes(span) for span in mlflow.trace(run_id)["spans"] if span["name"] == "chat gpt-4o-mini"]
    quiet, logged = sorted(calls, key=lambda call: "mlflow.spanInputs" in call)
    assert "mlflow.spanOutputs" not in quiet
    assert not any("think rain" in str(value) for value in quiet.values())
    assert logged["mlflow.spanInputs"] == {"messages": [{"role": "user", "content": "write done"}]}
    assert logged["mlflow.spanOutputs"] == {"role": "assistant", "content": "done"}
    assert (quiet["gen_ai.request.temperature"], quiet["gen_ai.request.max_tokens"]) == (0.5, 50)


@pytest.mark.long
async def test_mlflow_doesnt_make_up_a_cost_that_nobody_knows(yard: Yard, mlflow: Mlflow) -> None:
    await listening(yard.database, MLFLOW)
    await yard.executor("one", log_prompts="true")
    run_id = await finished(yard, MIXED, topic="rain")
    async with exported_to_mlflow(yard.database, mlflow.url):
        await all_exported(yard.database, MLFLOW)
    [known, unknown] = await yard.history.calls(run_id)
    assert (known.cost_usd is None, unknown.cost_usd) == (False, None)
    # MLflow knows a price for a model of this name, and would take it.
    [kept] = mlflow.runs_of("mixed", run_id)
    numbers = pairs(kept, "metrics")
    assert {name for name in numbers if "cost" in name} == {"provider_openai_cost_usd", "node_think_cost_usd"}
    assert pairs(kept, "tags")["flowyard.cost"] == "unknown"
    trace = mlflow.trace(run_id)
    assert trace["trace_info"]["tags"]["flowyard.cost"] == "unknown"
    spans = [attributes(span) for span in trace["spans"]]
    [vllm] = [span for span in spans if span.get("flowyard.provider") == "hosted_vllm"]
    assert vllm["mlflow.llm.cost"] == {}
    assert (vllm["gen_ai.usage.input_tokens"], vllm["flowyard.cost"]) == (unknown.tokens_in, "unknown")


async def test_a_retried_run_is_brought_up_to_date_and_not_exported_twice(
    yard: Yard, mlflow: Mlflow, model: Replying
) -> None:
    model.says = Status(400)
    await listening(yard.database, MLFLOW)
    await yard.executor("one", log_prompts="true")
    run_id = await finished(yard, UNPRICED, topic="rain")
    async with exported_to_mlflow(yard.database, mlflow.url):
        await all_exported(yard.database, MLFLOW)
        [before] = mlflow.runs_of("unpriced", run_id)
        assert (before["info"]["status"], mlflow.trace(run_id)["trace_info"]["state"]) == ("FAILED", "ERROR")
        model.says = Text("done")
        await yard.moves.retry(run_id)
        await yard.ended(run_id)
        await all_exported(yard.database, MLFLOW)
    [after] = mlflow.runs_of("unpriced", run_id)
    assert (after["info"]["run_id"], after["info"]["status"]) == (before["info"]["run_id"], "FINISHED")
    trace = mlflow.trace(run_id)
    assert trace["trace_info"]["state"] == "OK"
    names = sorted(span["name"] for span in trace["spans"])
    assert names == ["chat m", "chat m", "invoke_workflow unpriced", "queue", "queue", "step write", "step write"]
    assert shown(trace, "mlflow.trace.tokenUsage")["input_tokens"] == (await yard.runs.get(run_id)).spending.tokens_in
    # Its cost was known as long as no model had worked for it.
    assert pairs(before, "metrics")["total_cost_usd"] == 0
    assert str(pairs(after, "metrics")["total_cost_usd"]).lower() == "nan"


@pytest.mark.long
async def test_the_cost_that_mlflow_shows_of_a_retried_run_is_what_is_known_of_it_now(
    yard: Yard, mlflow: Mlflow, model: Replying
) -> None:
    model.says = Status(400)
    await listening(yard.database, MLFLOW)
    await yard.executor("one", log_prompts="true")
    run_id = await finished(yard, MIXED.replace("mixed", "mixed_later"), topic="rain")
    async with exported_to_mlflow(yard.database, mlflow.url):
        await all_exported(yard.database, MLFLOW)
        for reply in (Status(400), Text("done")):
            model.says = reply
            await yard.moves.retry(run_id)
            await yard.ended(run_id)
            await all_exported(yard.database, MLFLOW)
    *free, known, unknown = [call.cost_usd for call in await yard.history.calls(run_id)]
    assert (free, unknown) == ([Decimal(0)] * 2, None)
    assert known
    assert shown(mlflow.trace(run_id), "mlflow.trace.cost")["total_cost"] == pytest.approx(float(known))


@asynccontextmanager
async def reachable_at(port: int, server: Mlflow) -> AsyncIterator[None]:
    """The server can be reached at this port, too, as long as the block lasts."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        await asyncio.gather(_pump(reader, to_server), _pump(from_server, writer))

    async with await asyncio.start_server(pass_on, "127.0.0.1", port):
        yield


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.long
async def test_what_happened_while_mlflow_was_down_is_there_when_it_is_back(yard: Yard, mlflow: Mlflow) -> None:
    port = free_port()
    await listening(yard.database, MLFLOW)
    await yard.executor("one", log_prompts="true")
    async with mlflow_target(f"http://127.0.0.1:{port}") as target, exporters(yard.database, target) as metrics:
        runs = [await finished(yard, LATER, topic=f"{number}") for number in range(5)]
        failed = "flowyard_export_failures_total"
        await eventually(lambda: metrics.value(failed, target="mlflow", reason="unreachable"))
        async with reachable_at(port, mlflow):
            await all_exported(yard.database, MLFLOW, within_s=60)
    exported = [pairs(run, "tags")["flowyard.run_id"] for run in mlflow.runs("later")]
    assert sorted(exported) == sorted(str(run_id) for run_id in runs)
    assert all(mlflow.trace(run_id)["trace_info"]["state"] == "OK" for run_id in runs)
    assert metrics.value("flowyard_export_dropped_runs_total", target="mlflow", reason="refused") == 0


async def test_what_was_exported_is_deleted_with_our_runs_and_nothing_of_others(yard: Yard, mlflow: Mlflow) -> None:
    exports = await listening(yard.database, MLFLOW)
    await yard.executor("one")
    async with exported_to_mlflow(yard.database, mlflow.url):
        old, new = [await finished(yard, UNPRICED.replace("unpriced", "kept"), topic="rain") for _ in range(2)]
        await all_exported(yard.database, MLFLOW)
    another = {"key": "flowyard.installation", "value": "another"}
    for name, tags in (("of somebody else", []), ("of another installation", [another])):
        run = {"experiment_id": mlflow.experiment("kept"), "run_name": name, "start_time": 1, "tags": tags}
        mlflow.post("/api/2.0/mlflow/runs/create", run)
    await yard.database.execute("DELETE FROM runs WHERE id = $1", old)
    before = await exports.oldest_finished()
    assert before is not None
    async with open_client(MLFLOW, timeout_s=20) as client:
        assert await delete_before(mlflow.url, client, before, "a third") == 0
        assert mlflow.trace(old)
        # And those of the tests before, whose runs aren't there any more.
        assert await delete_before(mlflow.url, client, before, await exports.installation()) >= 1
        assert await delete_before(mlflow.url, client, before, await exports.installation()) == 0
    with pytest.raises(httpx.HTTPStatusError):
        mlflow.trace(old)
    assert mlflow.trace(new)
    names = {run["info"]["run_name"] for run in mlflow.runs("kept")}
    assert names == {str(new), "of somebody else", "of another installation"}
