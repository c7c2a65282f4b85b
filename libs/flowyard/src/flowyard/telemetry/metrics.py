"""Every metric of the product, by name. Base units, `flowyard_` in front, and never an id in a name or a label.

A label takes few values: a workflow, a node's model, a route's template; a run, a key, a path never. Workflows and
models are named by users, so only the first MOST_NAMES of each have series of their own; the rest share `other`.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics import MetricWrapperBase

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Statements, commits, doorbells: half a millisecond to five seconds."""
_WAIT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600)
"""Queues: a millisecond to an hour."""
_REQUEST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MODEL: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_RUN: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
_BATCH: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

MOST_NAMES: Final = 200
OTHER: Final = "other"
ENDINGS: Final = ("succeeded", "failed", "cancelled")
M = TypeVar("M", bound=MetricWrapperBase)


class _Few:
    """The first names stay as they are; what comes when there are MOST_NAMES is `other`."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        if len(self._known) < MOST_NAMES:
            self._known.add(name)
        return name if name in self._known else OTHER


class ByWorkflow(Generic[M]):
    """A metric whose first label is a workflow, with no more workflows than Prometheus can bear."""

    def __init__(self, metric: M, few: _Few) -> None:
        self._metric = metric
        self._few = few

    def labels(self, workflow: str, *more: str) -> M:
        return self._metric.labels(self._few(workflow), *more)


class _Maker:
    """Makes metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"flowyard_{name}", about, labels, registry=self._registry)

    def gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"flowyard_{name}", about, labels, registry=self._registry)

    def histogram(self, name: str, about: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"flowyard_{name}", about, labels, buckets=buckets, registry=self._registry)


class RunMetrics:
    """Runs, from submission to end, and the queue between.

    `depth`, `oldest_queued` and `orphaned` are of the whole system, and each executor measures them: take their
    maximum over executors, never their sum.
    """

    def __init__(self, make: _Maker) -> None:
        few = _Few()
        self.submitted = ByWorkflow(make.counter("runs_submitted_total", "Runs taken in.", "workflow"), few)
        self.finished = ByWorkflow(
            make.counter("runs_finished_total", "Runs that ended, by how.", "workflow", "status"), few
        )
        self.failures = ByWorkflow(
            make.counter("run_failures_total", "Runs that failed, by the class of error.", "workflow", "code"), few
        )
        self.duration = ByWorkflow(
            make.histogram("run_duration_seconds", "From the first claim to the end.", _RUN, "workflow", "status"), few
        )
        self.budget_refusals = ByWorkflow(
            make.counter(
                "budget_refusals_total", "Model calls not made because they might pass a limit.", "workflow", "limit"
            ),
            few,
        )
        self.depth = make.gauge("queue_depth", "Runs that aren't finished: queued, running, waiting.", "status")
        self.oldest_queued = make.gauge("queue_oldest_age_seconds", "Age of the run that has been queued longest.")
        self.orphaned = make.gauge(
            "runs_orphaned", "Unfinished runs with neither a live lease, a wake-up time nor a named input: must be 0."
        )
        self.deleted = make.counter("retention_deleted_rows_total", "Rows deleted because their time was over.", "kind")
        for status in ("queued", "running", "waiting"):
            self.depth.labels(status)

    def expect(self, workflow: str) -> None:
        """Its endings are counted from 0 on: the first of a kind is seen as a change too."""
        for status in ENDINGS:
            self.finished.labels(workflow, status)


class ExecutorMetrics:
    """Claims, leases and slots of this executor."""

    def __init__(self, make: _Maker) -> None:
        self.slots = make.gauge("executor_slots", "Runs that this executor may execute at once.")
        self.slots_used = make.gauge("executor_slots_used", "Runs that this executor executes now.")
        self.claimed = make.counter("runs_claimed_total", "Runs that this executor took.")
        self.claim_latency = make.histogram("claim_latency_seconds", "From queued to claimed.", _WAIT)
        self.claim_duration = make.histogram("claim_statement_seconds", "One claim statement.", _FAST)
        self.doorbell_lag = make.histogram("doorbell_lag_seconds", "From the ring to the claim that it woke.", _FAST)
        self.leases_lost = make.counter("leases_lost_total", "Runs abandoned because a renewal said: not yours.")
        self.leases_expired = make.counter(
            "leases_expired_total", "Runs of dead executors that this process put back into the queue."
        )
        self.fenced = make.counter("fenced_writes_total", "Writes refused because the run has a newer claim.")


class CommitMetrics:
    """Group commits of steps."""

    def __init__(self, make: _Maker) -> None:
        self.duration = make.histogram("commit_duration_seconds", "One transaction of a batch of steps.", _FAST)
        self.batch = make.histogram("commit_batch_steps", "Steps in one transaction.", _BATCH)
        self.failed = make.counter("commit_failures_total", "Batches that had to be split or tried again.")
        self.waiting = make.gauge("commit_queue_steps", "Steps that wait for their commit.")


class ModelMetrics:
    """Calls of models. Unknown is not zero: what a provider doesn't tell is counted apart."""

    def __init__(self, make: _Maker) -> None:
        model = ("provider", "model")
        self._few = _Few()
        self._calls = make.counter("model_calls_total", "Calls that were answered.", *model)
        self._errors = make.counter("model_errors_total", "Calls that failed, by the class of error.", *model, "code")
        self._retries = make.counter("model_retries_total", "Calls of steps that had been tried before.", *model)
        self._duration = make.histogram("model_call_duration_seconds", "One answered call.", _MODEL, *model)
        self._first_token = make.histogram(
            "model_call_first_token_seconds", "Until the first token of a streamed reply.", _MODEL, *model
        )
        self._tokens = make.counter(
            "model_tokens_total",
            "Tokens in (prompt), cached (those of in that were cached) and out (reply).",
            *model,
            "direction",
        )
        self._unmetered = make.counter(
            "model_tokens_unknown_total", "Calls whose tokens nobody told.", *model, "direction"
        )
        self._cost = make.counter("model_cost_usd_total", "What the calls of known cost came to.", *model)
        self._unpriced = make.counter("model_cost_unknown_total", "Calls whose cost can't be computed.", *model)

    def answered(
        self,
        provider: str,
        model: str,
        *,
        duration_s: float,
        tokens_in: int | None,
        tokens_out: int | None,
        cost_usd: Decimal | None,
        tokens_cached: int | None = None,
        first_token_s: float | None = None,
    ) -> None:
        """None: the provider didn't tell, or the price isn't known."""
        labels = self._labels(provider, model)
        self._calls.labels(*labels).inc()
        self._duration.labels(*labels).observe(duration_s)
        if first_token_s is not None:
            self._first_token.labels(*labels).observe(first_token_s)
        self._count_tokens(labels, tokens_in, tokens_out, tokens_cached)
        self._count_cost(labels, cost_usd)

    def failed(
        self,
        provider: str,
        model: str,
        *,
        code: str,
        tokens_in: int | None,
        tokens_out: int | None,
        cost_usd: Decimal | None,
    ) -> None:
        """`code`: that of the error. None: a model may have worked on it, and nobody knows how much."""
        labels = self._labels(provider, model)
        self._errors.labels(*labels, code).inc()
        self._count_tokens(labels, tokens_in, tokens_out, None)
        self._count_cost(labels, cost_usd)

    def retried(self, provider: str, model: str) -> None:
        """A call, answered or failed, of a step that had been tried before."""
        self._retries.labels(*self._labels(provider, model)).inc()

    def _labels(self, provider: str, model: str) -> tuple[str, str]:
        return provider, model if self._few(f"{provider}/{model}") != OTHER else OTHER

    def _count_cost(self, labels: tuple[str, str], cost_usd: Decimal | None) -> None:
        if cost_usd is None:
            self._unpriced.labels(*labels).inc()
        else:
            self._cost.labels(*labels).inc(float(cost_usd))

    def _count_tokens(
        self, labels: tuple[str, str], tokens_in: int | None, tokens_out: int | None, tokens_cached: int | None
    ) -> None:
        for direction, tokens in (("in", tokens_in), ("out", tokens_out)):
            if tokens is None:
                self._unmetered.labels(*labels, direction).inc()
            else:
                self._tokens.labels(*labels, direction).inc(tokens)
        # Few providers cache, and those that don't have nothing to tell: its absence is no gap.
        if tokens_cached is not None:
            self._tokens.labels(*labels, "cached").inc(tokens_cached)


class ExportMetrics:
    """What is told about finished runs to other systems. `target`: the system's kind, never its address."""

    def __init__(self, make: _Maker) -> None:
        self.runs = make.counter("export_runs_total", "Finished runs that another system has taken.", "target")
        self.failures = make.counter(
            "export_failures_total", "Tries that another system didn't take; they are repeated.", "target", "reason"
        )
        self.dropped = make.counter(
            "export_dropped_runs_total", "Finished runs that another system will never be told.", "target", "reason"
        )
        self.backlog = make.gauge("export_backlog_runs", "Finished runs that wait to be told.", "target")
        self.lag = make.gauge("export_lag_seconds", "For how long the oldest of them has been waiting.", "target")
        self.duration = make.histogram("export_duration_seconds", "One try, taken or not.", _REQUEST, "target")

    def expect(self, target: str, *, failures: Sequence[str] = (), drops: Sequence[str] = ()) -> None:
        """Everything about it is 0 from now on. `failures`, `drops`: the reasons that there may be."""
        for metric in (self.runs, self.backlog, self.lag, self.duration):
            metric.labels(target)
        for reason in failures:
            self.failures.labels(target, reason)
        for reason in drops:
            self.dropped.labels(target, reason)


class BusMetrics:
    """NATS, as this process sees it."""

    def __init__(self, make: _Maker) -> None:
        self.dropped = make.counter(
            "bus_messages_dropped_total",
            "Messages lost: not sent (disconnected), not taken in time (slow), not readable (undecodable).",
            "reason",
        )
        self.reconnects = make.counter("bus_reconnects_total", "Connections made again.")
        self.connected = make.gauge("bus_connected", "1 while connected.")


class HttpMetrics:
    """Requests that this process answers."""

    def __init__(self, make: _Maker) -> None:
        self.requests = make.counter("http_requests_total", "Requests answered.", "method", "route", "status")
        self.duration = make.histogram(
            "http_request_duration_seconds", "Until the answer begins.", _REQUEST, "method", "route"
        )
        self.streams_open = make.gauge("sse_streams_open", "Event streams that clients have open.")


class ProcessMetrics:
    """The process itself."""

    def __init__(self, make: _Maker) -> None:
        self.build = make.gauge("build_info", "Always 1; the labels tell what runs.", "service", "version")
        self.loop_lag = make.histogram("event_loop_lag_seconds", "How late the event loop is.", _FAST)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self, *, service: str, version: str) -> None:
        # When each series was made doubles the page and tells nothing that we use.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        make = _Maker(self._registry)
        self.runs = RunMetrics(make)
        self.executor = ExecutorMetrics(make)
        self.commits = CommitMetrics(make)
        self.models = ModelMetrics(make)
        self.exports = ExportMetrics(make)
        self.bus = BusMetrics(make)
        self.http = HttpMetrics(make)
        self.process = ProcessMetrics(make)
        self.process.build.labels(service, version).set(1)

    def render(self) -> tuple[bytes, str]:
        """The page that Prometheus reads, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def value(self, name: str, **labels: str) -> float | None:
        """One sample by its full name, None where there is none: for tests and status pages."""
        return self._registry.get_sample_value(name, labels)
