"""A run's params, metrics and tags for MLflow, within MLflow's limits. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from flowyard.export.finished_run import FinishedRun
from flowyard.export.spans import Span, ns_of, trace_id
from flowyard.export.text import as_json, clean, shortened
from flowyard.storage.rows import CallRow

RUN_ID: Final = "flowyard.run_id"
INSTALLATION: Final = "flowyard.installation"
STATUS: Final[Mapping[str, str]] = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
MAX_KEY: Final = 250
MAX_PARAM: Final = 6000
MAX_TAG: Final = 8000
_FORBIDDEN: Final = re.compile(r"[^\w\-. :]")


def params_of(finished: FinishedRun) -> dict[str, str]:
    """MLflow can't change params: so only what stays the same when the run is retried."""
    run, workflow = finished.run, finished.workflow
    params = {f"input.{name}": _as_param(value) for name, value in run.inputs.items()}
    params |= {"revision": str(run.revision), "digest": run.digest}
    if workflow is not None:
        models = [str(model) for node in workflow.nodes.values() for model in node.models]
        params["models"] = shortened(clean(", ".join(dict.fromkeys(models))), max_length=MAX_PARAM)
    return {_key(name): value for name, value in params.items()}


def metrics_of(finished: FinishedRun, spans: Sequence[Span]) -> dict[str, float]:
    """The metrics by name. Unknown ones are left out."""
    run = finished.run
    numbers: dict[str, float | int | Decimal | None] = {
        "duration_ms": (ns_of(finished.finished_at) - ns_of(run.started_at or run.created_at)) / 1_000_000,
        "total_cost_usd": run.spending.cost_usd,
        "tokens_in": run.spending.tokens_in,
        "tokens_out": run.spending.tokens_out,
        "model_calls": run.spending.calls,
    }
    for provider, cost in _costs((call.provider, call) for call in finished.calls).items():
        numbers[f"provider_{provider}_cost_usd"] = cost
    busy = _busy(spans)
    costs = _costs((call.step.node, call) for call in finished.calls)
    for node in sorted(busy.keys() | costs.keys()):
        numbers[f"node_{node}_duration_ms"] = busy[node] / 1_000_000 if node in busy else None
        # A node without model calls has cost nothing.
        numbers[f"node_{node}_cost_usd"] = costs.get(node, Decimal(0))
    return {_key(name): float(number) for name, number in numbers.items() if number is not None}


def tags_of(finished: FinishedRun) -> dict[str, str]:
    run = finished.run
    called = dict.fromkeys(f"{call.provider}/{call.model}" for call in finished.calls)
    tags = {
        RUN_ID: str(run.id),
        INSTALLATION: finished.installation,
        "flowyard.workflow": run.workflow,
        "flowyard.status": run.status,
        "flowyard.trace_id": trace_id(run.id),
        "flowyard.cost": "unknown" if run.spending.cost_usd is None else "known",
        "flowyard.models_called": shortened(clean(", ".join(called)), max_length=MAX_TAG),
        "flowyard.error": run.error.code if run.error is not None else "",
        "flowyard.forked_from": str(run.forked_from) if run.forked_from is not None else "",
        "mlflow.source.name": f"flowyard/{run.workflow}",
    }
    return {name: value for name, value in tags.items() if value}


def _costs(calls: Iterable[tuple[str, CallRow]]) -> dict[str, Decimal | None]:
    """Sums by name; None where a part is unknown."""
    sums: dict[str, Decimal | None] = {}
    for name, call in calls:
        before = sums.get(name, Decimal(0))
        sums[name] = None if before is None or call.cost_usd is None else before + call.cost_usd
    return sums


def _busy(spans: Collection[Span]) -> dict[str, int]:
    """Per node, the nanoseconds in which at least one of its steps was running."""
    steps = sorted((span for span in spans if span.role == "step"), key=lambda span: span.start_ns)
    busy: dict[str, int] = {}
    until: dict[str, int] = {}
    for span in steps:
        node = str(span.attributes["flowyard.node"])
        begin = max(span.start_ns, until.get(node, 0))
        busy[node] = busy.get(node, 0) + max(0, span.end_ns - begin)
        until[node] = max(span.end_ns, begin)
    return busy


def _as_param(value: Any) -> str:
    text = clean(value) if isinstance(value, str) else as_json(value, max_length=MAX_PARAM)
    return shortened(text, max_length=MAX_PARAM)


def _key(name: str) -> str:
    """A name that MLflow accepts: of letters, digits, underscores, dashes, dots, spaces and colons."""
    return _FORBIDDEN.sub("_", name)[:MAX_KEY]
