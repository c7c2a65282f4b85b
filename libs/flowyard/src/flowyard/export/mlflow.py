"""MLflow: a trace per run over OTLP, and an MLflow run per run over its REST API. Its packages are never imported.

An experiment per workflow, `flowyard/<workflow>`; in it an MLflow run, found again by its tag `flowyard.run_id`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from math import isnan, nan
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from flowyard.errors import ExportRefused, TargetAway
from flowyard.export.addresses import OtlpAddress
from flowyard.export.mlflow_facts import RUN_ID, STATUS, metrics_of, params_of, tags_of
from flowyard.export.otlp import send_spans
from flowyard.export.sending import Door
from flowyard.export.spans import Span, Value, ns_of, spans_of, trace_id
from flowyard.export.told import Told

PREFIX: Final = "flowyard/"
_API: Final = "/api/2.0/mlflow"
_TRACES: Final = "/api/3.0/mlflow/traces"
_JSON: Final = {"content-type": "application/json"}
_TYPES: Final = {"run": "WORKFLOW", "step": "CHAIN", "call": "CHAT_MODEL"}
# A request may have 100 params and 1 MB, and 1000 metrics.
_MOST_PARAMS: Final = 30
_MOST_METRICS: Final = 500


@dataclass(frozen=True, slots=True)
class _Run:
    """MLflow's run. `params`, `metrics`: the names of those that it has."""

    id: str
    params: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    is_new: bool = True


class MlflowTarget:
    """`url`: of the tracking server."""

    def __init__(self, url: str, resource: Mapping[str, str], door: Door) -> None:
        self.name = door.name
        self._url = url.rstrip("/")
        self._resource = resource
        self._door = door
        self._experiments: dict[str, str] = {}

    async def send(self, told: Told, *, again: bool) -> None:
        """Raises TargetAway, ExportRefused. `again`: it may be there already, whole or in part."""
        spans = await asyncio.to_thread(spans_of, told)
        experiment = await self._experiment(told.run.workflow)
        try:
            look = again or told.was_over_before
            run = await self._run(told, experiment, look=look)
            await self._tell(told, spans, experiment, run)
            if look and run.is_new:
                await self._delete_others(told, experiment, run)
        except ExportRefused:
            # Somebody may have deleted the experiment: it is looked up again.
            self._experiments.pop(told.run.workflow, None)
            raise

    async def _tell(self, told: Told, spans: Sequence[Span], experiment: str, run: _Run) -> None:
        try:
            await self._send_trace(told, spans, experiment, run)
            await self._log(told, spans, run)
        except TargetAway as away:
            # Its MLflow run is there: next time it has to be found.
            away.untouched = False
            raise

    # ---- experiments

    async def _experiment(self, workflow: str) -> str:
        known = self._experiments.get(workflow)
        if known is None:
            known = self._experiments[workflow] = await self._find_experiment(PREFIX + workflow)
        return known

    async def _find_experiment(self, name: str) -> str:
        found = await self._by_name(name)
        if found is None:
            made = await self._answer("POST", f"{_API}/experiments/create", {"name": name})
            if made.is_success:
                return str(self._read(made)["experiment_id"])
            # Another registry was quicker.
            found = await self._by_name(name)
            if found is None:
                raise self._door.trouble(made)
        if found.get("lifecycle_stage") == "deleted":
            raise ExportRefused(self.name, f"its experiment {name} is deleted: restore it there, or delete it for good")
        return str(found["experiment_id"])

    async def _by_name(self, name: str) -> dict[str, Any] | None:
        query = urlencode({"experiment_name": name})
        answer = await self._answer("GET", f"{_API}/experiments/get-by-name?{query}", None)
        if answer.is_success:
            found: dict[str, Any] = self._read(answer)["experiment"]
            return found
        if _code(answer) == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise self._door.trouble(answer)

    # ---- runs

    async def _run(self, told: Told, experiment: str, *, look: bool) -> _Run:
        found = await self._find_run(told, experiment) if look else None
        if found is not None:
            return found
        run = told.run
        asked = {
            "experiment_id": experiment,
            "run_name": str(run.id),
            "start_time": ns_of(run.started_at or run.created_at) // 1_000_000,
            "tags": _listed(tags_of(told)),
        }
        made = await self._ask("POST", f"{_API}/runs/create", asked)
        return _Run(str(made["run"]["info"]["run_id"]))

    async def _delete_others(self, told: Told, experiment: str, run: _Run) -> None:
        """A request to make it that was given up may have been heard all the same, after it had been looked for."""
        for other in await self._runs_of(told, experiment, most=100):
            if other["info"]["run_id"] != run.id and not _names(other, "metrics"):
                await self._ask("POST", f"{_API}/runs/delete", {"run_id": other["info"]["run_id"]})

    async def _runs_of(self, told: Told, experiment: str, *, most: int) -> Sequence[Mapping[str, Any]]:
        wanted = f"tags.`{RUN_ID}` = '{told.run.id}'"
        asked = {"experiment_ids": [experiment], "filter": wanted, "max_results": most}
        found: list[Mapping[str, Any]] = (await self._ask("POST", f"{_API}/runs/search", asked)).get("runs", [])
        return found

    async def _find_run(self, told: Told, experiment: str) -> _Run | None:
        for found in await self._runs_of(told, experiment, most=1):
            params, metrics = _names(found, "params"), _names(found, "metrics")
            return _Run(str(found["info"]["run_id"]), params, metrics, is_new=False)
        return None

    async def _log(self, told: Told, spans: Sequence[Span], run: _Run) -> None:
        end = ns_of(told.finished_at) // 1_000_000
        params = {name: value for name, value in params_of(told).items() if name not in run.params}
        metrics = metrics_of(told, spans)
        # What was known before and isn't any more can't be deleted there.
        metrics |= dict.fromkeys(run.metrics - metrics.keys(), nan)
        # Usually one request.
        parts = _parts(params, _MOST_PARAMS), _parts(metrics, _MOST_METRICS)
        for some, numbers in zip_longest(*parts, fillvalue=dict[str, Any]()):
            points = [
                {"key": name, "value": "NaN" if isnan(number) else number, "timestamp": end, "step": 0}
                for name, number in numbers.items()
            ]
            batch = {"run_id": run.id, "params": _listed(some), "metrics": points}
            if not run.is_new:
                batch["tags"] = _listed(tags_of(told))
            await self._ask("POST", f"{_API}/runs/log-batch", batch)
        ended = {"run_id": run.id, "status": STATUS[told.run.status], "end_time": end}
        await self._ask("POST", f"{_API}/runs/update", ended)

    # ---- traces

    async def _send_trace(self, told: Told, spans: Sequence[Span], experiment: str, run: _Run) -> None:
        headers = {"x-mlflow-experiment-id": experiment, "x-mlflow-run-id": run.id}
        address = OtlpAddress(f"{self._url}/v1/traces", headers)
        resource = self._resource
        await send_spans(self._door, address, told, spans, resource=resource, view=lambda span: mlflow_view(span, told))
        if not run.is_new:
            await self._renew_trace(told, spans[0], experiment)

    async def _renew_trace(self, told: Told, root: Span, experiment: str) -> None:
        """MLflow keeps the state that a trace had at first, and sums up what it is sent: it is told what holds now.

        Its sums are of what is known, also where a part isn't: else it would keep those that it was told before.
        """
        spending = told.run.spending
        costs = [call.cost_usd for call in told.calls if call.cost_usd is not None]
        tokens_in = [call.tokens_in for call in told.calls if call.tokens_in is not None]
        tokens_out = [call.tokens_out for call in told.calls if call.tokens_out is not None]
        about: dict[str, str] = {}
        if costs:
            about["mlflow.trace.cost"] = json.dumps({"total_cost": float(sum(costs))})
        if tokens_in or tokens_out:
            sums = {"input_tokens": sum(tokens_in), "output_tokens": sum(tokens_out)}
            about["mlflow.trace.tokenUsage"] = json.dumps({**sums, "total_tokens": sum(sums.values())})
        info = {
            "trace_id": f"tr-{trace_id(told.run.id)}",
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
            "request_time": told.run.created_at.isoformat().replace("+00:00", "Z"),
            "execution_duration": f"{(root.end_ns - root.start_ns) / 1e9:.3f}s",
            "state": "OK" if root.error is None else "ERROR",
            "trace_metadata": about,
            "tags": {"flowyard.cost": "unknown" if spending.cost_usd is None else "known"},
        }
        await self._ask("POST", _TRACES, {"trace": {"trace_info": info}})

    # ---- HTTP

    async def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        answer = await self._answer(method, path, body)
        if answer.is_success:
            return self._read(answer)
        raise self._refusal(answer)

    async def _answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        content = json.dumps(body).encode() if body is not None else None
        return await self._door.answer(method, self._url + path, content=content, headers=_JSON)

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        """Raises TargetAway if it is no JSON object: the page of a login, say, or of another server."""
        with suppress(ValueError):
            if isinstance(body := answer.json(), dict):
                return body
        raise self._door.stranger()

    def _refusal(self, answer: httpx.Response) -> Exception:
        """A 404 with MLflow's own code isn't a wrong address: what the run belongs to is gone."""
        code = _code(answer)
        if code == "RESOURCE_DOES_NOT_EXIST":
            return ExportRefused(self.name, f"{answer.status_code} {code}")
        return self._door.trouble(answer)


def mlflow_view(span: Span, told: Told) -> dict[str, Value]:
    """A span's attributes, with what MLflow shows under names of its own."""
    found: dict[str, Value] = {**span.attributes, "mlflow.spanType": _TYPES[span.role]}
    if span.inputs is not None:
        found["mlflow.spanInputs"] = span.inputs
    if span.outputs is not None:
        found["mlflow.spanOutputs"] = span.outputs
    if span.role == "call":
        cost = span.attributes.get("flowyard.cost_usd")
        # Without it MLflow would look the price up itself: unknown has to be said.
        found["mlflow.llm.cost"] = json.dumps({} if cost is None else {"total_cost": float(cost)})
    if span.role == "run":
        found["mlflow.traceTag.flowyard.run_id"] = str(told.run.id)
        found["mlflow.traceTag.flowyard.status"] = told.run.status
        found["mlflow.traceTag.flowyard.cost"] = "known" if "flowyard.cost_usd" in span.attributes else "unknown"
        found["mlflow.traceTag.mlflow.traceName"] = told.run.workflow
    return found


def _code(answer: httpx.Response) -> str | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body.get("error_code") if isinstance(body, dict) else None


def _listed(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in values.items()]


def _names(run: Mapping[str, Any], kind: str) -> frozenset[str]:
    return frozenset(one["key"] for one in run.get("data", {}).get(kind, []))


def _parts(values: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    return list(_split(iter(values.items()), most))


def _split(items: Iterator[tuple[str, Any]], most: int) -> Iterator[dict[str, Any]]:
    while part := dict(islice(items, most)):
        yield part
