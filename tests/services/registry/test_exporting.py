"""The registry exports runs that real executors have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from flowyard.export.addresses import OtelSettings
from flowyard.storage.database import Database
from flowyard_registry.settings import RegistrySettings
from support.executors import Yard, open_yard
from support.exporting import all_exported
from support.otlp import Got, otlp_receiver
from support.waiting import eventually
from support.wire.behaviour import Status, Text
from support.wire.server import Request

DOCUMENT: Final = """
flow: {name: poems}
state:
  fields:
    topic: {type: str, required: true}
    plan: str
    poem: str
nodes:
  - id: think
    prompt: "think {topic}"
    outputs: [plan]
    log_prompts: false
    retry: {max_retries: 2, initial_delay: 0.05}
  - {id: write, prompt: "write {plan}", outputs: [poem], llm: {max_tokens: 70}}
config: {llm: MODEL}
"""


@pytest.fixture
async def yard(database_url: str, nats_url: str) -> AsyncIterator[Yard]:
    requests: list[Request] = []

    def replies(request: Request) -> Any:
        requests.append(request)
        return Status(429) if len(requests) == 1 else Text("done")

    async with open_yard(database_url, nats_url, replies) as yard:
        yield yard


async def targets(database: Database) -> list[str]:
    return [row["name"] for row in await database.rows("SELECT name FROM export_targets ORDER BY name")]


def named(spans: list[Got], name: str) -> list[Got]:
    return [span for span in spans if span.name == name]


async def test_a_real_run_is_a_trace_that_says_what_the_ledger_says(starting: Any, yard: Yard) -> None:
    async with otlp_receiver() as receiver:
        otel = OtelSettings(exporter_otlp_endpoint=receiver.url, service_name="poets")
        async with starting(otel):
            await yard.executor("one", log_prompts="true")
            run_id = await yard.submit(await yard.apply(DOCUMENT), topic="dawn")
            run = await yard.ended(run_id)
            await eventually(lambda: receiver.of(run_id))
    spans, calls = receiver.of(run_id), await yard.history.calls(run_id)
    [root] = named(spans, "invoke_workflow poems")
    [think], [write] = named(spans, "step think"), named(spans, "step write")
    refused, thought, written = sorted(named(spans, "chat m"), key=lambda span: span.start_ns)
    assert len(spans) == 6
    [queue] = [span for span in receiver.received if span.name == "queue"]
    assert (queue.parent_id, queue.attributes["flowyard.executor"]) == (root.span_id, "one")
    assert [span.parent_id for span in (think, write)] == [root.span_id] * 2
    assert [span.parent_id for span in (refused, thought, written)] == [think.span_id] * 2 + [write.span_id]
    for outer, inner in ((root, think), (root, write), (think, refused), (think, thought), (write, written)):
        assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns
    assert [span.attributes.get("error.type") for span in (refused, thought)] == ["rate_limited", None]
    assert [name for name, _ in think.events if name == "step.retrying"] == ["step.retrying"]
    answered = [call for call in calls if call.error is None]
    usage = [(span.attributes["gen_ai.usage.input_tokens"], span.is_client) for span in (thought, written)]
    assert usage == [(call.tokens_in, True) for call in answered]
    assert written.attributes["gen_ai.request.max_tokens"] == 70
    assert "gen_ai.input.messages" not in thought.attributes
    assert "write done" in written.attributes["gen_ai.input.messages"]
    assert (root.attributes["flowyard.cost"], run.spending.cost_usd) == ("unknown", None)
    assert (root.attributes["flowyard.inputs"], think.attributes["flowyard.outputs"]) == (
        '{"topic": "dawn"}',
        '{"plan": "done"}',
    )
    assert (root.attributes["flowyard.run_id"], root.resource["service.name"]) == (str(run_id), "poets")


async def test_runs_are_kept_for_those_who_are_configured_and_for_nobody_else(
    starting: Any, yard: Yard, database: Database
) -> None:
    nowhere = "http://127.0.0.1:9"
    async with starting(OtelSettings(exporter_otlp_endpoint=nowhere), mlflow_url=nowhere):
        assert await targets(database) == ["mlflow", "otlp"]
        await yard.executor("one", log_prompts="true")
        await yard.ended(await yard.submit(await yard.apply(DOCUMENT), topic="dawn"))
        assert await database.value("SELECT count(*) FROM exports") == 2
    async with starting(mlflow_url=nowhere) as registry:
        assert await targets(database) == ["mlflow"]
        assert await database.value("SELECT count(*) FROM exports") == 1
        dropped = 'flowyard_export_dropped_runs_total{reason="unconfigured",target="otlp"} 1.0'
        assert dropped in await metrics(registry)
    async with starting():
        assert (await targets(database), await database.value("SELECT count(*) FROM exports")) == ([], 0)


async def test_a_target_that_is_down_is_seen_in_the_metrics_and_nowhere_else(
    starting: Any, yard: Yard, database: Database
) -> None:
    async with otlp_receiver() as receiver:
        otel = OtelSettings(exporter_otlp_endpoint=receiver.url)
        async with starting(otel, mlflow_url="http://127.0.0.1:9") as registry:
            await yard.executor("one", log_prompts="true")
            await yard.ended(await yard.submit(await yard.apply(DOCUMENT), topic="dawn"))
            await all_exported(database, "otlp")

            async def has_tried() -> bool:
                return 'flowyard_export_failures_total{reason="unreachable",target="mlflow"} 1.0' in await metrics(
                    registry
                )

            await eventually(has_tried)
            page = await metrics(registry)
            assert 'flowyard_export_runs_total{target="otlp"} 1.0' in page
            assert 'flowyard_export_runs_total{target="mlflow"} 0.0' in page
            assert (await registry.client.get("/health/ready")).status_code == 200


async def metrics(registry: Any) -> str:
    return str((await registry.client.get("/metrics")).text)


@pytest.mark.parametrize("url", ["mlflow:5000", "http://me:secret@mlflow:5000", "ftp://mlflow"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    given = {"database_url": "postgresql://x", "nats_url": "nats://x", "mlflow_url": url}
    with pytest.raises(ValueError, match="should") as refused:
        RegistrySettings.model_validate(given)
    assert "secret" not in str(refused.value)
