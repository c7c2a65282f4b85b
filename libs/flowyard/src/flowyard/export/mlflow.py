"""MLflow: a trace per run over OTLP, and an MLflow run per run over its REST API. Its packages are never imported.

Each workflow has an experiment, `flowyard/<workflow>`; each run an MLflow run in it, with the tag `flowyard.run_id`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from math import isnan, nan
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from flowyard.export.addresses import OtlpAddress
from flowyard.export.client import ExportClient, ExportRefused, TargetUnavailable
from flowyard.export.finished_run import FinishedRun
from flowyard.export.mlflow_facts import INSTALLATION, RUN_ID, STATUS, metrics_of, params_of, tags_of
from flowyard.export.otlp import send_spans
from flowyard.export.spans import Span, Value, ns_of, spans_of, trace_id

PREFIX: Final = "flowyard/"
API: Final = "/api/2.0/mlflow"
TRACES: Final = "/api/3.0/mlflow/traces"
JSON: Final = {"content-type": "application/json"}
_TYPES: Final = {"run": "WORKFLOW", "queue": "UNKNOWN", "step": "CHAIN", "call": "CHAT_MODEL", "tool": "TOOL"}
# A request may have 100 params and 1 MB, and 1000 metrics.
_MAX_PARAMS: Final = 30
_MAX_METRICS: Final = 500


@dataclass(frozen=True, slots=True)
class _Run:
    """An MLflow run. `params`, `metrics`, `tags`: the names that MLflow has stored. `is_new`: just created."""

    id: str
    params: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    is_new: bool = True


class MlflowTarget:
    """`url`: the tracking server's. `resource`: attributes of all spans."""

    def __init__(self, url: str, resource: Mapping[str, str], client: ExportClient) -> None:
        self.name = client.name
        self._url = url.rstrip("/")
        self._resource = resource
        self._client = client
        self._experiments: dict[str, str] = {}

    async def send(self, finished: FinishedRun, *, again: bool) -> None:
        """`again`: MLflow may have the run already, or a part of it. Raises TargetUnavailable, ExportRefused."""
        spans = await asyncio.to_thread(spans_of, finished)
        experiment = await self._experiment(finished.run.workflow)
        try:
            look = again or finished.ended_before
            run = await self._run(finished, experiment, look=look)
            await self._write(finished, spans, experiment, run)
            if look and run.is_new:
                await self._delete_others(finished, experiment, run)
        except ExportRefused:
            # Somebody may have deleted the experiment: look it up next time.
            self._experiments.pop(finished.run.workflow, None)
            raise

    async def _write(self, finished: FinishedRun, spans: Sequence[Span], experiment: str, run: _Run) -> None:
        try:
            await self._send_trace(finished, spans, experiment, run)
            await self._log(finished, spans, run)
        except TargetUnavailable as error:
            # The MLflow run exists by now: the next try must look for it.
            raise error.after_sending() from error

    # ---- experiments

    async def _experiment(self, workflow: str) -> str:
        if workflow not in self._experiments:
            self._experiments[workflow] = await self._find_experiment(PREFIX + workflow)
        return self._experiments[workflow]

    async def _find_experiment(self, name: str) -> str:
        experiment = await self._by_name(name)
        if experiment is None:
            created = await self._send("POST", f"{API}/experiments/create", {"name": name})
            if created.is_success:
                return str(self._read(created)["experiment_id"])
            # Another registry may have created it in the meantime.
            experiment = await self._by_name(name)
            if experiment is None:
                raise self._client.error_for(created)
        if experiment.get("lifecycle_stage") == "deleted":
            raise ExportRefused(self.name, f"its experiment {name} is deleted: restore it there, or delete it for good")
        return str(experiment["experiment_id"])

    async def _by_name(self, name: str) -> dict[str, Any] | None:
        query = urlencode({"experiment_name": name})
        response = await self._send("GET", f"{API}/experiments/get-by-name?{query}", None)
        if response.is_success:
            experiment: dict[str, Any] = self._read(response)["experiment"]
            return experiment
        if _code(response) == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise self._client.error_for(response)

    # ---- runs

    async def _run(self, finished: FinishedRun, experiment: str, *, look: bool) -> _Run:
        existing = await self._find_run(finished, experiment) if look else None
        if existing is not None:
            return existing
        run, tags = finished.run, _listed(tags_of(finished))
        start = ns_of(run.started_at or run.created_at) // 1_000_000
        body = {"experiment_id": experiment, "run_name": str(run.id), "start_time": start, "tags": tags}
        created = await self._call("POST", f"{API}/runs/create", body)
        return _Run(str(created["run"]["info"]["run_id"]))

    async def _delete_others(self, finished: FinishedRun, experiment: str, run: _Run) -> None:
        """Deletes duplicates: a create request that timed out may have succeeded after the search for its run."""
        for other in await self._runs_of(finished, experiment, limit=100):
            if other["info"]["run_id"] != run.id and not _names(other, "metrics"):
                await self._call("POST", f"{API}/runs/delete", {"run_id": other["info"]["run_id"]})

    async def _runs_of(self, finished: FinishedRun, experiment: str, *, limit: int) -> Sequence[Mapping[str, Any]]:
        condition = f"tags.`{RUN_ID}` = '{finished.run.id}'"
        body = {"experiment_ids": [experiment], "filter": condition, "max_results": limit}
        runs: list[Mapping[str, Any]] = (await self._call("POST", f"{API}/runs/search", body)).get("runs", [])
        return runs

    async def _find_run(self, finished: FinishedRun, experiment: str) -> _Run | None:
        for run in await self._runs_of(finished, experiment, limit=1):
            params, metrics, tags = (_names(run, kind) for kind in ("params", "metrics", "tags"))
            return _Run(str(run["info"]["run_id"]), params, metrics, tags, is_new=False)
        return None

    async def _log(self, finished: FinishedRun, spans: Sequence[Span], run: _Run) -> None:
        end = ns_of(finished.finished_at) // 1_000_000
        params = {name: value for name, value in params_of(finished).items() if name not in run.params}
        metrics = metrics_of(finished, spans)
        # MLflow can't delete metrics: one that is no longer known becomes NaN.
        metrics |= dict.fromkeys(run.metrics - metrics.keys(), nan)
        # Usually one request.
        parts = zip_longest(_chunks(params, _MAX_PARAMS), _chunks(metrics, _MAX_METRICS), fillvalue=dict[str, Any]())
        for some, numbers in parts:
            points = [
                {"key": name, "value": "NaN" if isnan(number) else number, "timestamp": end, "step": 0}
                for name, number in numbers.items()
            ]
            batch = {"run_id": run.id, "params": _listed(some), "metrics": points}
            if not run.is_new:
                batch["tags"] = _listed(tags_of(finished))
            await self._call("POST", f"{API}/runs/log-batch", batch)
        # Of an earlier end, such as the error of a run that was retried.
        for name in sorted(tag for tag in run.tags - tags_of(finished).keys() if tag.startswith("flowyard.")):
            await self._call("POST", f"{API}/runs/delete-tag", {"run_id": run.id, "key": name})
        ended = {"run_id": run.id, "status": STATUS[finished.run.status], "end_time": end}
        await self._call("POST", f"{API}/runs/update", ended)

    # ---- traces

    async def _send_trace(self, finished: FinishedRun, spans: Sequence[Span], experiment: str, run: _Run) -> None:
        headers = {"x-mlflow-experiment-id": experiment, "x-mlflow-run-id": run.id}
        address, view = OtlpAddress(f"{self._url}/v1/traces", headers), partial(mlflow_view, finished=finished)
        await send_spans(self._client, address, finished, spans, resource=self._resource, view=view)
        if not run.is_new:
            await self._renew_trace(finished, spans[0], experiment)

    async def _renew_trace(self, finished: FinishedRun, root: Span, experiment: str) -> None:
        """Corrects the trace of a run that is sent again: MLflow keeps the first state, and adds up all costs it gets.

        A sum of which a part is unknown contains the known parts: without a sum, MLflow would keep the earlier one.
        """
        spending = finished.run.spending
        costs = [call.cost_usd for call in finished.calls if call.cost_usd is not None]
        tokens_in = [call.tokens_in for call in finished.calls if call.tokens_in is not None]
        tokens_out = [call.tokens_out for call in finished.calls if call.tokens_out is not None]
        metadata: dict[str, str] = {}
        if costs:
            metadata["mlflow.trace.cost"] = json.dumps({"total_cost": float(sum(costs))})
        if tokens_in or tokens_out:
            sums = {"input_tokens": sum(tokens_in), "output_tokens": sum(tokens_out)}
            metadata["mlflow.trace.tokenUsage"] = json.dumps({**sums, "total_tokens": sum(sums.values())})
        info = {
            "trace_id": f"tr-{trace_id(finished.run.id)}",
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
            "request_time": finished.run.created_at.isoformat().replace("+00:00", "Z"),
            "execution_duration": f"{(root.end_ns - root.start_ns) / 1e9:.3f}s",
            "state": "OK" if root.error is None else "ERROR",
            "trace_metadata": metadata,
            "tags": {"flowyard.cost": "unknown" if spending.cost_usd is None else "known"},
        }
        await self._call("POST", TRACES, {"trace": {"trace_info": info}})

    # ---- HTTP

    async def _call(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        response = await self._send(method, path, body)
        if response.is_success:
            return self._read(response)
        if (code := _code(response)) == "RESOURCE_DOES_NOT_EXIST":
            # MLflow's own code: the run was deleted. Any other 404 is a wrong address.
            raise ExportRefused(self.name, f"{response.status_code} {code}")
        raise self._client.error_for(response)

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        content = json.dumps(body).encode() if body is not None else None
        return await self._client.send(method, self._url + path, content=content, headers=JSON)

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        """The response's JSON object. Raises TargetUnavailable for anything else, such as another server's page."""
        with suppress(ValueError):
            if isinstance(body := response.json(), dict):
                return body
        raise self._client.wrong_server()


def mlflow_view(span: Span, finished: FinishedRun) -> dict[str, Value]:
    """A span's attributes, and those with MLflow's own names that its pages show."""
    attributes: dict[str, Value] = {**span.attributes, "mlflow.spanType": _TYPES[span.role]}
    if span.inputs is not None:
        attributes["mlflow.spanInputs"] = span.inputs
    if span.outputs is not None:
        attributes["mlflow.spanOutputs"] = span.outputs
    if span.role == "call":
        cost = span.attributes.get("flowyard.cost_usd")
        # Without this attribute MLflow would look up a price by itself.
        attributes["mlflow.llm.cost"] = json.dumps({} if cost is None else {"total_cost": float(str(cost))})
    if span.role == "run":
        attributes[f"mlflow.traceTag.{RUN_ID}"] = str(finished.run.id)
        attributes[f"mlflow.traceTag.{INSTALLATION}"] = finished.installation
        attributes["mlflow.traceTag.flowyard.status"] = finished.run.status
        attributes["mlflow.traceTag.flowyard.cost"] = "known" if "flowyard.cost_usd" in span.attributes else "unknown"
        attributes["mlflow.traceTag.mlflow.traceName"] = finished.run.workflow
    return attributes


def _code(response: httpx.Response) -> str | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body.get("error_code") if isinstance(body, dict) else None


def _listed(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in values.items()]


def _names(run: Mapping[str, Any], kind: str) -> frozenset[str]:
    return frozenset(each["key"] for each in run.get("data", {}).get(kind, []))


def _chunks(values: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    items = iter(values.items())
    while part := dict(islice(items, size)):
        yield part
