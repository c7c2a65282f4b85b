from __future__ import annotations

import asyncio
import re
import time
from decimal import Decimal
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from flowyard.runs.events import Failure, ModelCalled, StepId
from flowyard.telemetry.making import MAX_NAMES, OTHER
from flowyard.telemetry.metrics import Metrics
from support.waiting import eventually

FORBIDDEN_LABELS = {"run_id", "id", "key", "path", "url"}
BASE_UNITS = re.compile(r"_(ms|millis|milliseconds|minutes|kb|mb)(_|$)")


def make() -> Metrics:
    return Metrics(service="gateway", version="1.2.3")


def count(metrics: Metrics, cost: Decimal | None, tokens: int | None, *, model: str = "m", **about: Any) -> None:
    usual: dict[str, Any] = {"duration_s": 0.1, "first_token_s": None, "tokens_cached": None}
    call = ModelCalled(
        StepId("write", 1), "openai", model, tokens_in=tokens, tokens_out=tokens, cost_usd=cost, **usual | about
    )
    metrics.models.count_call(call)


def answered(metrics: Metrics, cost: Decimal | None, tokens: int | None = 3) -> None:
    count(metrics, cost, tokens)


def test_every_metric_is_named_by_the_rules_of_prometheus() -> None:
    page, content_type = make().render()
    assert content_type.startswith("text/plain")
    families = list(text_string_to_metric_families(page.decode()))
    ours = [family for family in families if not family.name.startswith("process_")]
    assert len(ours) > 30
    for family in ours:
        assert family.name.startswith("flowyard_"), family.name
        assert not BASE_UNITS.search(family.name), family.name
        assert family.documentation
        assert not FORBIDDEN_LABELS & {label for sample in family.samples for label in sample.labels}


def test_two_processes_in_one_test_dont_share_their_numbers() -> None:
    a, b = make(), make()
    a.runs.submitted.labels("haiku").inc()
    assert a.value("flowyard_runs_submitted_total", workflow="haiku") == 1
    assert b.value("flowyard_runs_submitted_total", workflow="haiku") is None


def test_a_cost_that_nobody_knows_is_not_counted_as_zero() -> None:
    metrics, model = make(), {"provider": "openai", "model": "m"}
    answered(metrics, None)
    assert metrics.value("flowyard_model_cost_usd_total", **model) is None
    assert metrics.value("flowyard_model_cost_unknown_total", **model) == 1
    answered(metrics, Decimal("0.25"))
    assert metrics.value("flowyard_model_cost_usd_total", **model) == 0.25
    assert metrics.value("flowyard_model_calls_total", **model) == 2


def test_tokens_that_were_not_reported_are_not_counted_as_zero() -> None:
    metrics, out = make(), {"provider": "openai", "model": "m", "direction": "out"}
    answered(metrics, None, tokens=None)
    assert metrics.value("flowyard_model_tokens_total", **out) is None
    assert metrics.value("flowyard_model_tokens_unknown_total", **out) == 1


def failed(metrics: Metrics, cost: Decimal | None, tokens: int | None, *, model: str = "m") -> None:
    count(metrics, cost, tokens, model=model, error=Failure("timeout", "no answer"))


def test_a_call_that_was_cut_off_is_of_unknown_cost_as_in_the_ledger_and_one_that_was_refused_is_free() -> None:
    metrics, model = make(), {"provider": "openai", "model": "m"}
    failed(metrics, Decimal(0), 0)
    assert metrics.value("flowyard_model_cost_unknown_total", **model) is None
    failed(metrics, None, None)
    assert metrics.value("flowyard_model_cost_unknown_total", **model) == 1
    assert metrics.value("flowyard_model_tokens_unknown_total", **model, direction="in") == 1
    assert metrics.value("flowyard_model_cost_usd_total", **model) == 0


def test_the_queue_is_empty_before_it_is_anything_else() -> None:
    assert make().value("flowyard_queue_depth", status="queued") == 0


def test_the_build_has_service_and_version() -> None:
    assert make().value("flowyard_build_info", service="gateway", version="1.2.3", name="gateway") == 1


async def test_a_blocked_loop_is_seen() -> None:
    metrics = make()
    watch = asyncio.create_task(metrics.process.watch_loop_lag(every_s=0.01))
    await asyncio.sleep(0)
    time.sleep(0.05)  # noqa: ASYNC251 - what is to be seen
    await eventually(lambda: (metrics.value("flowyard_event_loop_lag_seconds_sum") or 0) > 0.03)
    watch.cancel()


def series(metrics: Metrics, name: str, label: str) -> set[str]:
    families = text_string_to_metric_families(metrics.render()[0].decode())
    return {sample.labels[label] for family in families for sample in family.samples if sample.name == name}


def test_more_workflows_than_prometheus_can_bear_share_a_name() -> None:
    metrics = make()
    for number in range(MAX_NAMES + 50):
        metrics.runs.submitted.labels(f"w{number}").inc()
        metrics.runs.finished.labels(f"w{number}", "failed").inc()
    metrics.runs.submitted.labels("w0").inc()
    assert len(series(metrics, "flowyard_runs_submitted_total", "workflow")) == MAX_NAMES + 1
    assert metrics.value("flowyard_runs_submitted_total", workflow="w0") == 2
    assert metrics.value("flowyard_runs_submitted_total", workflow=OTHER) == 50
    assert metrics.value("flowyard_runs_finished_total", workflow=OTHER, status="failed") == 50


def test_more_models_than_prometheus_can_bear_share_a_name() -> None:
    metrics = make()
    for number in range(MAX_NAMES + 50):
        failed(metrics, None, None, model=f"m{number}")
    assert metrics.value("flowyard_model_errors_total", provider="openai", model=OTHER, code="timeout") == 50
    assert metrics.value("flowyard_model_errors_total", provider="openai", model="m0", code="timeout") == 1


def test_a_workflow_has_failed_no_time_before_it_fails() -> None:
    metrics = make()
    metrics.runs.create_series("haiku")
    assert metrics.value("flowyard_runs_finished_total", workflow="haiku", status="failed") == 0


def test_what_few_models_report_is_counted_when_they_do() -> None:
    metrics, model = make(), {"provider": "openai", "model": "m"}
    answered(metrics, None)
    assert metrics.value("flowyard_model_call_first_token_seconds_count", **model) is None
    count(metrics, None, 9, tokens_cached=8, first_token_s=0.2, retries=1)
    assert metrics.value("flowyard_model_call_first_token_seconds_sum", **model) == 0.2
    assert metrics.value("flowyard_model_tokens_total", **model, direction="cached") == 8
    assert metrics.value("flowyard_model_retries_total", **model) == 1


def test_a_target_of_exports_begins_with_zeros() -> None:
    metrics = make()
    metrics.exports.create_series("mlflow", failures=("timeout",), drops=("too_old",))
    assert metrics.value("flowyard_export_runs_total", target="mlflow") == 0
    assert metrics.value("flowyard_export_lag_seconds", target="mlflow") == 0
    assert metrics.value("flowyard_export_failures_total", target="mlflow", reason="timeout") == 0
    assert metrics.value("flowyard_export_dropped_runs_total", target="mlflow", reason="too_old") == 0
