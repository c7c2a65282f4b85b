"""Every metric of the product. Names begin with `flowyard_` and have base units; names and labels contain no ids.

A label has few values: a workflow, a model, a route's template; never a run, a key or a path. Users name workflows and
models, so only the first MAX_NAMES of each have their own series; all others share `other`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from math import nan
from typing import Final, NoReturn

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from flowyard.runs.entries import StoredEvent
from flowyard.runs.events import ModelCalled, ToolCalled
from flowyard.telemetry.machine import memory_limit
from flowyard.telemetry.making import OTHER, LabelLimit, MetricFactory, NamedMetric

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Buckets for statements, commits and doorbells: half a millisecond to five seconds."""
_WAIT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600)
"""Buckets for queues: a millisecond to an hour."""
_REQUEST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MODEL: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_RUN: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
_BATCH: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_FINAL_STATES: Final = ("succeeded", "failed", "cancelled")


class RunMetrics:
    """Runs, from submission to end, their queue, and who should execute them.

    `depth`, `oldest_queued`, `orphaned` and the silent executors are of the whole system, and each executor measures
    them: use the maximum over executors, never the sum.
    """

    def __init__(self, make: MetricFactory) -> None:
        limit = LabelLimit()

        def counter(name: str, description: str, *labels: str) -> NamedMetric[Counter]:
            return NamedMetric(make.counter(name, description, "workflow", *labels), limit)

        self.submitted = counter("runs_submitted_total", "Runs submitted.")
        self.finished = counter("runs_finished_total", "Runs that ended, by status.", "status")
        self.failures = counter("run_failures_total", "Runs that failed, by error code.", "code")
        duration = "From a run's first claim to its end."
        self.duration = NamedMetric(make.histogram("run_duration_seconds", duration, _RUN, "workflow", "status"), limit)
        refusals = "Model calls refused because they might exceed a limit."
        self.budget_refusals = counter("budget_refusals_total", refusals, "limit")
        self.depth = make.gauge("queue_depth", "Unfinished runs, by status: queued, running, waiting.", "status")
        self.oldest_queued = make.gauge("queue_oldest_age_seconds", "Age of the run that has been queued longest.")
        orphaned = "Unfinished runs that no process will ever continue: must be 0."
        self.orphaned = make.gauge("runs_orphaned", orphaned)
        silent = "1 for each executor that sends no heartbeats any more, and has not deregistered."
        self._silent = make.gauge("executor_silent", silent, "name")
        self.deliveries = counter("deliveries_total", "What came for triggers, by outcome.", "outcome")
        self.deleted = make.counter("retention_deleted_rows_total", "Rows deleted after their retention.", "kind")
        for status in ("queued", "running", "waiting"):
            self.depth.labels(status)

    def forget_queue(self) -> None:
        """Unknown is not zero, and not what it was a while ago."""
        for status in ("queued", "running", "waiting"):
            self.depth.labels(status).set(nan)
        self.oldest_queued.set(nan)
        self.orphaned.set(nan)
        self.show_silent([])

    def show_silent(self, executors: Iterable[str]) -> None:
        """Those that are silent now, and no others."""
        self._silent.clear()
        for name in executors:
            self._silent.labels(name).set(1)

    def create_series(self, workflow: str) -> None:
        """Creates the workflow's series with 0, so that `rate()` counts the first run of each status, too."""
        for status in _FINAL_STATES:
            self.finished.labels(workflow, status)


class ExecutorMetrics:
    """Claims, leases and slots of this executor."""

    def __init__(self, make: MetricFactory) -> None:
        self.slots = make.gauge("executor_slots", "Runs that this executor can execute at the same time.")
        self.slots_used = make.gauge("executor_slots_used", "Runs that this executor executes now.")
        memory = "Fraction of its memory that this executor uses."
        self.memory = make.gauge("executor_memory_fraction", memory)
        most = "Fraction of its memory above which this executor claims no runs."
        self.most_memory = make.gauge("executor_memory_limit_fraction", most)
        self.claimed = make.counter("runs_claimed_total", "Runs that this executor claimed.")
        self.claim_latency = make.histogram("claim_latency_seconds", "From a run's queueing to its claim.", _WAIT)
        self.claim_duration = make.histogram("claim_statement_seconds", "Duration of a claim statement.", _FAST)
        lag = "From a doorbell to the claim that it caused."
        self.doorbell_lag = make.histogram("doorbell_lag_seconds", lag, _FAST)
        self.leases_lost = make.counter("leases_lost_total", "Runs abandoned because their lease couldn't be renewed.")
        expired = "Runs of lost executors that this process put back into the queue."
        self.leases_expired = make.counter("leases_expired_total", expired)
        replayed = "Rows of recorded steps that were read to replay runs."
        self.replayed = make.counter("replayed_rows_total", replayed)
        self.fenced = make.counter("fenced_writes_total", "Writes refused because the run has a newer claim.")
        mismatches = "Runs that this executor failed because their recorded steps don't fit."
        self.replay_mismatches = make.counter("replay_mismatches_total", mismatches)


class CommitMetrics:
    """Transactions, each with the commits of several runs."""

    def __init__(self, make: MetricFactory) -> None:
        self.duration = make.histogram("commit_duration_seconds", "Duration of a transaction with commits.", _FAST)
        self.batch = make.histogram("commit_batch_steps", "Commits of runs in one transaction.", _BATCH)
        self.failed = make.counter("commit_failures_total", "Transactions that failed, and were split or repeated.")
        self.waiting = make.gauge("commit_queue_steps", "Commits of runs that wait to be written.")


class ModelMetrics:
    """Calls of models and tools. Unknown is not zero: unknown tokens and costs have counters of their own."""

    def __init__(self, make: MetricFactory) -> None:
        model = ("provider", "model")
        self._limit = LabelLimit()
        self._calls = make.counter("model_calls_total", "Calls that succeeded.", *model)
        self._errors = make.counter("model_errors_total", "Calls that failed, by error code.", *model, "code")
        self._retries = make.counter("model_retries_total", "Calls made by retries of their step.", *model)
        self._duration = make.histogram("model_call_duration_seconds", "Duration of a successful call.", _MODEL, *model)
        delay = "Time to the first token of a streamed reply."
        self._first_token = make.histogram("model_call_first_token_seconds", delay, _MODEL, *model)
        tokens = "Tokens: in (prompt), cached (the part of in that was cached) and out (reply)."
        self._tokens = make.counter("model_tokens_total", tokens, *model, "direction")
        unknown = "Calls whose token count is unknown."
        self._unmetered = make.counter("model_tokens_unknown_total", unknown, *model, "direction")
        self._cost = make.counter("model_cost_usd_total", "Sum of all known costs, in US dollars.", *model)
        self._unpriced = make.counter("model_cost_unknown_total", "Calls whose cost is unknown.", *model)
        self._tool_limit = LabelLimit()
        self._tool_calls = make.counter("tool_calls_total", "Calls of tools, by outcome.", "tool", "outcome")
        self._tool_duration = make.histogram("tool_call_duration_seconds", "Duration of a call.", _MODEL, "tool")
        limits, waiting = LabelLimit(), "Calls that have waited for a limit for more than a second, and still wait."
        self.waiting = NamedMetric(make.gauge("model_calls_waiting", waiting, "limit"), limits)
        permit = "How long calls waited for a limit."
        self.limit_wait = NamedMetric(make.histogram("model_limit_wait_seconds", permit, _WAIT, "limit"), limits)

    def count(self, events: Iterable[StoredEvent]) -> None:
        """Adds the calls that have ended among these events."""
        for stored in events:
            match stored.event:
                case ModelCalled() as call:
                    self.count_call(call)
                case ToolCalled() as call:
                    # A model may call what isn't there, by any name.
                    name = OTHER if call.outcome == "unknown_tool" else self._tool_limit(call.tool)
                    self._tool_calls.labels(name, call.outcome).inc()
                    self._tool_duration.labels(name).observe(call.duration_s)

    def count_call(self, call: ModelCalled) -> None:
        is_limited = self._limit(f"{call.provider}/{call.model}") == OTHER
        labels = (call.provider, OTHER if is_limited else call.model)
        if call.retries:
            self._retries.labels(*labels).inc()
        if call.error is not None:
            self._errors.labels(*labels, call.error.code).inc()
        else:
            self._calls.labels(*labels).inc()
            self._duration.labels(*labels).observe(call.duration_s)
            if call.first_token_s is not None:
                self._first_token.labels(*labels).observe(call.first_token_s)
            # Few providers cache tokens: without caching there is no such count, and nothing is unknown.
            if call.tokens_cached is not None:
                self._tokens.labels(*labels, "cached").inc(call.tokens_cached)
        for direction, tokens in (("in", call.tokens_in), ("out", call.tokens_out)):
            if tokens is None:
                self._unmetered.labels(*labels, direction).inc()
            else:
                self._tokens.labels(*labels, direction).inc(tokens)
        if call.cost_usd is None:
            self._unpriced.labels(*labels).inc()
        else:
            self._cost.labels(*labels).inc(float(call.cost_usd))


class TriggerMetrics:
    """What starts runs without a request. The lag is of the whole system: use the maximum, never the sum."""

    def __init__(self, make: MetricFactory) -> None:
        self.lag = make.gauge(
            "trigger_lag_seconds", "Age of the oldest event that has started nothing yet, by kind of trigger.", "kind"
        )
        for kind in ("workflow", "nats"):
            self.lag.labels(kind)
        dead = "Messages of NATS that were given up: they can't be mapped, or were tried too often."
        self.dead_letters = NamedMetric(make.counter("trigger_dead_letters_total", dead, "workflow"), LabelLimit())


class ExportMetrics:
    """Exports of finished runs to other systems. `target`: the kind of system, never its address."""

    def __init__(self, make: MetricFactory) -> None:
        self.runs = make.counter("export_runs_total", "Finished runs that the target accepted.", "target")
        failures = "Failed tries to export a run; they are repeated."
        self.failures = make.counter("export_failures_total", failures, "target", "reason")
        dropped = "Finished runs that will never be exported."
        self.dropped = make.counter("export_dropped_runs_total", dropped, "target", "reason")
        self.backlog = make.gauge("export_backlog_runs", "Finished runs that wait for export.", "target")
        self.lag = make.gauge("export_lag_seconds", "Age of the oldest run that waits for export.", "target")
        self.duration = make.histogram(
            "export_duration_seconds", "Duration of a try to export, successful or not.", _REQUEST, "target"
        )

    def create_series(self, target: str, *, failures: Sequence[str] = (), drops: Sequence[str] = ()) -> None:
        """Creates all series of a target with 0. `failures`, `drops`: the possible reasons."""
        for metric in (self.runs, self.backlog, self.lag, self.duration):
            metric.labels(target)
        for reason in failures:
            self.failures.labels(target, reason)
        for reason in drops:
            self.dropped.labels(target, reason)


class EventStreamMetrics:
    """The stream of public events."""

    def __init__(self, make: MetricFactory) -> None:
        self.published = make.counter("event_stream_published_total", "Events that the public stream has stored.")
        self.failures = make.counter(
            "event_stream_failures_total", "Tries to publish events that failed; they are repeated."
        )
        self.lag = make.gauge("event_stream_lag_seconds", "Age of the oldest event that isn't published yet.")


class NotificationMetrics:
    """Notifications of ended runs to receivers, which users choose."""

    def __init__(self, make: MetricFactory) -> None:
        ended = "Notifications that were accepted, or of which all tries have failed."
        self.notifications = make.counter("notifications_total", ended, "outcome")
        failures = "Tries to send a notification that have failed; they are repeated."
        self.failures = make.counter("notification_failures_total", failures, "reason")
        self.waiting = make.gauge("notifications_waiting", "Notifications that no receiver has accepted yet.")
        self.failing = make.gauge("receivers_failing", "Receivers that have refused the last notification.")
        self.disabled = make.gauge("receivers_disabled", "Receivers that get nothing until somebody enables them.")
        self.duration = make.histogram(
            "notification_duration_seconds", "Duration of a try to send a notification, successful or not.", _REQUEST
        )

    def create_series(self, *, outcomes: Sequence[str], reasons: Sequence[str]) -> None:
        """Creates all series with 0."""
        for outcome in outcomes:
            self.notifications.labels(outcome)
        for reason in reasons:
            self.failures.labels(reason)


class ScheduleMetrics:
    """Fires of schedules. `overdue` is of the whole system, and each registry measures it: use the maximum."""

    def __init__(self, make: MetricFactory) -> None:
        fires = "Fires of schedules that this registry recorded, by what became of them."
        self.fires = NamedMetric(make.counter("fires_total", fires, "workflow", "outcome"), LabelLimit())
        lag = "From the time at which a fire should start to its start; not of fires that were missed or that wait."
        self.lag = make.histogram("fire_lag_seconds", lag, _WAIT)
        overdue = "By how much the schedule that is most late is late."
        self.overdue = make.gauge("schedules_overdue_seconds", overdue)


class SandboxMetrics:
    """The code that this sandbox executes, by tier, and its workers."""

    def __init__(self, make: MetricFactory) -> None:
        self.workers = make.gauge("sandbox_workers", "Workers that are ready or at work.", "tier")
        self.waiting = make.gauge("sandbox_jobs_waiting", "Executions that wait for a worker.", "tier")
        self.running = make.gauge("sandbox_jobs_running", "Executions at work.", "tier")
        self.jobs = make.counter("sandbox_jobs_total", "Executions that have ended, by how.", "tier", "ending")
        self.wait = make.histogram("sandbox_wait_seconds", "How long executions waited for a worker.", _WAIT, "tier")
        self.duration = make.histogram("sandbox_job_duration_seconds", "Duration of an execution.", _FAST, "tier")
        replaced = "Workers that have died, or were ended for what they did."
        self.replaced = make.counter("sandbox_workers_replaced_total", replaced, "tier")
        self.refused = make.counter("sandbox_busy_total", "Executions refused because too many wait.")
        confined = "Whether the kernel confines the workers by this: landlock, seccomp."
        self.confined = make.gauge("sandbox_confined", confined, "by")


class BusMetrics:
    """This process's connection to NATS."""

    def __init__(self, make: MetricFactory) -> None:
        dropped = "Messages not sent (outbox_full, not_sent, not_permitted, too_large, unencodable), or received and "
        dropped += "not handled (slow_consumer, undecodable, handler_failed)."
        self.dropped = make.counter("bus_messages_dropped_total", dropped, "reason")
        self.reconnects = make.counter("bus_reconnects_total", "Reconnections to NATS.")
        self.connected = make.gauge("bus_connected", "1 while connected to NATS, else 0.")


class PostgresMetrics:
    """This process's connections to Postgres."""

    def __init__(self, make: MetricFactory) -> None:
        self.reachable = make.gauge("postgres_reachable", "1 while Postgres answers within two seconds, else 0.")
        self.reachable.set(1)
        self.disk_size = make.gauge("disk_size_bytes", "Size of the disk of Postgres, if it is known.")
        self.disk_free = make.gauge("disk_free_bytes", "Free space on the disk of Postgres, if it is known.")
        self.disk_size.set(nan)
        self.disk_free.set(nan)


class HttpMetrics:
    """Requests that this process answers."""

    def __init__(self, make: MetricFactory) -> None:
        self.requests = make.counter("http_requests_total", "Requests answered.", "method", "route", "status")
        duration = "Time to the start of the response."
        self.duration = make.histogram("http_request_duration_seconds", duration, _REQUEST, "method", "route")
        self.streams_open = make.gauge("sse_streams_open", "Event streams that clients have open.")


class ProcessMetrics:
    """The process itself."""

    def __init__(self, make: MetricFactory) -> None:
        build = "Always 1; the labels name the service, its version, and the process: executor-1."
        self.build = make.gauge("build_info", build, "service", "version", "name")
        self.memory_limit = make.gauge("memory_limit_bytes", "Most memory that the process may use.")
        self.loop_lag = make.histogram("event_loop_lag_seconds", "By how much the event loop is late.", _FAST)

    async def watch_loop_lag(self, *, every_s: float = 0.5) -> NoReturn:
        """Measures until it is cancelled by how much every timeout, lease and stream of the process is delayed."""
        clock = asyncio.get_running_loop().time
        while True:
            expected = clock() + every_s
            await asyncio.sleep(every_s)
            self.loop_lag.observe(max(0.0, clock() - expected))


class Metrics:
    """The metrics of one process, in a registry of their own. `name`: of the process; None: as the service."""

    def __init__(self, *, service: str, version: str, name: str | None = None) -> None:
        # The `_created` series double the page, and we don't use them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        make = MetricFactory(self._registry)
        self.runs = RunMetrics(make)
        self.executor = ExecutorMetrics(make)
        self.commits = CommitMetrics(make)
        self.models = ModelMetrics(make)
        self.triggers = TriggerMetrics(make)
        self.exports = ExportMetrics(make)
        self.event_stream = EventStreamMetrics(make)
        self.notifications = NotificationMetrics(make)
        self.schedules = ScheduleMetrics(make)
        self.sandbox = SandboxMetrics(make)
        self.bus = BusMetrics(make)
        self.postgres = PostgresMetrics(make)
        self.http = HttpMetrics(make)
        self.process = ProcessMetrics(make)
        self.process.build.labels(service, version, name or service).set(1)
        self.process.memory_limit.set(memory_limit())

    def render(self) -> tuple[bytes, str]:
        """The page that Prometheus reads, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def value(self, name: str, /, **labels: str) -> float | None:
        """The value of a sample by its full name, or None if it doesn't exist. For tests and status pages."""
        return self._registry.get_sample_value(name, labels)
