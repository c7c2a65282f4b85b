"""The executor's process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI

from flowyard.bus import subjects
from flowyard.bus.doorbell import Doorbell, doorbell
from flowyard.bus.messages import ModelHeld, RunControl, RunFollowed, WorkQueued
from flowyard.drafts.check import document_checks
from flowyard.drafts.testing import serve_draft_tests
from flowyard.durable.attempt import AttemptParts
from flowyard.durable.clock import DatabaseClock
from flowyard.graph.compile import Graphs
from flowyard.llm.models import Models, open_models
from flowyard.no_telemetry import forbid_telemetry
from flowyard.secrets.sealing import secret_box
from flowyard.service.connections import Connections, open_connections
from flowyard.service.disk import disk_check
from flowyard.service.documents import Documents
from flowyard.service.process import run_service
from flowyard.service.programs import Programs
from flowyard.service.sandboxes import Sandboxes
from flowyard.service.tool_settings import open_tools
from flowyard.settings import PREFIX, read_settings
from flowyard.steps.context import SizeLimits
from flowyard.storage.agents import Agents
from flowyard.storage.announced_tools import AnnouncedTools
from flowyard.storage.budgets import DailySpending
from flowyard.storage.claims import Claims
from flowyard.storage.commits import Committer
from flowyard.storage.database import Database
from flowyard.storage.history import History
from flowyard.storage.keys import CachedKeys, Keys
from flowyard.storage.lost_calls import LostCalls
from flowyard.storage.moves import Moves
from flowyard.storage.pace import ModelPace
from flowyard.storage.queue import QueueMeasures
from flowyard.storage.retention import Retention
from flowyard.storage.workflows import Workflows
from flowyard.tasks import cancel
from flowyard.telemetry.metrics import Metrics
from flowyard.tools.registry import ToolRegistry
from flowyard.web.app import About, make_app
from flowyard.web.connections import ConnectionLimits
from flowyard.web.health import Check
from flowyard.web.serve import serve
from flowyard_executor.announcing import announce_tools
from flowyard_executor.claim_loop import claim_runs, drain, renew_leases
from flowyard_executor.daily_budgets import DailyBudgets
from flowyard_executor.followers import Followers
from flowyard_executor.holds import Holds
from flowyard_executor.limit_waits import LimitWaits
from flowyard_executor.load import Load
from flowyard_executor.memory import MemoryMeter
from flowyard_executor.mismatches import Mismatches
from flowyard_executor.model_limits import ModelLimits
from flowyard_executor.parts import ExecutorParts, with_tools
from flowyard_executor.presence import be_present
from flowyard_executor.reporting import RunReporter
from flowyard_executor.settings import ExecutorSettings
from flowyard_executor.sweeper import delete_old_runs, measure, release_own_runs, sweep
from flowyard_executor.tokens import TokenStream
from flowyard_executor.warm_up import warm_up

_ABOUT = "Claims runs and executes them. Start as many as there is work for, each under a name of its own."


def main() -> None:
    forbid_telemetry()
    settings = read_settings(ExecutorSettings, sys.argv[1:], program="flowyard-executor", about=_ABOUT)
    code = run_service("executor", settings, partial(_run_executor, settings))
    # At once: LangGraph and LiteLLM take a second to be torn down, and everything that was opened has been closed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _run_executor(settings: ExecutorSettings, draining: asyncio.Event) -> None:
    async with _open_parts(settings, draining) as parts:
        await _run_until_drained(parts)


async def _run_until_drained(parts: ExecutorParts) -> None:
    """Claims and executes runs until `parts.draining` is set and nothing is left to do."""
    await parts.daily_budgets.begin()
    await release_own_runs(parts)
    cancelled = Doorbell(poll_s=parts.settings.lease_s / 3)
    async with (
        doorbell(parts.bus, subjects.RUNS_QUEUED, WorkQueued, poll_s=parts.settings.poll_s) as bell,
        parts.bus.subscribe(subjects.ANY_RUN_CONTROL, RunControl, partial(_ring_for_own, parts, cancelled)),
        parts.bus.subscribe(subjects.ANY_RUN_FOLLOWED, RunFollowed, parts.followers.receive),
        parts.bus.subscribe(subjects.MODELS_HELD, ModelHeld, parts.holds.receive),
        serve_draft_tests(parts.bus, lambda: parts.installation, parts.attempt.run_code),
    ):
        await _run_loops(parts, bell, cancelled, executor_app(parts))


async def _run_loops(parts: ExecutorParts, bell: Doorbell, cancelled: Doorbell, app: FastAPI) -> None:
    settings, stopped = parts.settings, asyncio.Event()
    parts.metrics.executor.slots.set(settings.slots)
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(loop)
            for loop in (
                parts.committer.run(),
                renew_leases(parts, cancelled),
                parts.model_limits.keep(lease_s=settings.lease_s),
                sweep(parts),
                measure(parts),
                delete_old_runs(parts),
                be_present(parts),
                announce_tools(parts),
                parts.load.watch(),
                parts.metrics.process.watch_loop_lag(),
            )
        ]
        serving = tasks.create_task(
            serve(
                app,
                host=settings.host,
                port=settings.port,
                grace_s=settings.grace_s,
                limits=ConnectionLimits(settings.connections_limit),
                shutting_down=stopped,
            )
        )
        tasks.create_task(claim_runs(parts, bell))
        warming = tasks.create_task(warm_up(parts))
        await parts.draining.wait()
        warming.cancel()
        bell.ring()
        await drain(parts)
        await parts.daily_budgets.settled(within_s=1)
        await parts.model_limits.settled(within_s=1)
        stopped.set()
        await serving
        await cancel(loops)


async def _ring_for_own(parts: ExecutorParts, cancelled: Doorbell, message: RunControl) -> None:
    """Whether a run is really cancelled is read from Postgres: a message changes nothing."""
    if message.run_id in parts.running:
        cancelled.ring()


@asynccontextmanager
async def _open_parts(settings: ExecutorSettings, draining: asyncio.Event) -> AsyncIterator[ExecutorParts]:
    # The variables that a document may name as the source of a key: none of ours, which give access to our servers.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    files = Path(settings.referenced_files) if settings.referenced_files else None
    async with (
        open_connections(settings, "executor", name=settings.executor_name) as opened,
        open_models(
            environment,
            files=files,
            reply_limit=settings.reply_limit,
            litellm=settings.litellm,
            prices=settings.prices,
            variables=settings.document_variables,
        ) as models,
        open_tools(
            settings,
            environment,
            settings.document_variables,
            run_code=Sandboxes(opened.bus, settings.code_bounds).run,
            run_program=Programs(opened.bus).run,
            refreshes=True,
        ) as tools,
    ):
        yield _build_parts(settings, opened, models, tools, draining)


def _build_parts(
    settings: ExecutorSettings, opened: Connections, models: Models, tools: ToolRegistry, draining: asyncio.Event
) -> ExecutorParts:
    metrics, database, workflows = opened.metrics, opened.database, Workflows(opened.database)
    committer, load = _committer(settings, database, metrics), _load(settings, metrics)
    daily_budgets = DailyBudgets(DailySpending(database, executor=settings.executor_name), settings.daily_budgets)
    holds, run_code = Holds(opened.bus), Sandboxes(opened.bus, settings.code_bounds).run
    model_limits = _model_limits(settings, opened, holds, draining)
    documents, clock, mismatches = Documents(workflows), DatabaseClock(), Mismatches(metrics)
    followers = Followers(opened.bus, TokenStream(opened.bus), load.running)
    return ExecutorParts(
        running=load.running,
        load=load,
        settings=settings,
        metrics=metrics,
        database=database,
        bus=opened.bus,
        queue=QueueMeasures(database),
        claims=Claims(database, lease_s=settings.lease_s),
        moves=Moves(database),
        retention=Retention(database),
        agents=Agents(database),
        announced_tools=AnnouncedTools(database),
        daily_budgets=daily_budgets,
        model_limits=model_limits,
        holds=holds,
        committer=committer,
        workflows=workflows,
        documents=documents,
        models=models,
        clock=clock,
        draining=draining,
        callers=CachedKeys(Keys(database)),
        mismatches=mismatches,
        followers=followers,
        attempt=AttemptParts(
            executor=settings.executor_name,
            committer=committer,
            history=History(database),
            lost_calls=LostCalls(database),
            documents=documents,
            graphs=Graphs(),
            models=models,
            clock=clock,
            observer=_reporter(settings, opened, followers, mismatches),
            draining=draining,
            daily_limit=daily_budgets.of,
            call_limits=model_limits.of,
            is_followed=followers.follow_tokens if settings.stream_tokens else lambda _run_id: False,
            may_replay=lambda: not mismatches.too_many,
            log_prompts=settings.log_prompts,
            sizes=SizeLimits(settings.outputs_limit, settings.state_limit),
            long_wait_s=settings.long_wait_s,
            check_documents=document_checks(lambda: with_tools(settings.installation, tools), run_code=run_code),
            tools=tools,
            tool_rules=settings.tool_rules,
            run_code=run_code,
            box=secret_box(settings.secret_key.get_secret_value()),
        ),
    )


def _reporter(
    settings: ExecutorSettings, opened: Connections, followers: Followers, mismatches: Mismatches
) -> RunReporter:
    return RunReporter(
        settings.executor_name, bus=opened.bus, followers=followers, metrics=opened.metrics, mismatches=mismatches
    )


def _model_limits(
    settings: ExecutorSettings, opened: Connections, holds: Holds, draining: asyncio.Event
) -> ModelLimits:
    pace = ModelPace(opened.database, lease_s=settings.lease_s)
    waits = LimitWaits(settings.executor_name, pace, opened.metrics.models)
    return ModelLimits(pace, settings.model_limits, waits, holds, draining=draining)


def _load(settings: ExecutorSettings, metrics: Metrics) -> Load:
    load = Load(MemoryMeter(settings.memory_limit), fraction=settings.memory_fraction)
    metrics.executor.memory.set_function(lambda: load.memory.fraction)
    metrics.executor.most_memory.set(settings.memory_fraction)
    return load


def _committer(settings: ExecutorSettings, database: Database, metrics: Metrics) -> Committer:
    def committed(seconds: float, commits: int) -> None:
        metrics.commits.duration.observe(seconds)
        metrics.commits.batch.observe(commits)

    return Committer(database, lease_s=settings.lease_s, on_batch=committed, on_trouble=metrics.commits.failed.inc)


def executor_app(parts: ExecutorParts) -> FastAPI:
    """Health and metrics: an executor answers nothing else."""

    async def postgres() -> str:
        await parts.database.value("SELECT 1")
        return "reachable"

    async def nats() -> str:
        return "connected" if parts.bus.connected else "not connected: the queue is polled instead"

    return make_app(
        About("Flowyard executor", version("flowyard"), _ABOUT),
        routers=[],
        checks=[
            Check("postgres", postgres),
            Check("nats", nats),
            disk_check(parts.database, parts.settings.disk),
            Check("replays", parts.mismatches.check),
        ],
        metrics=parts.metrics,
        shutting_down=parts.draining,
        verify=parts.callers.verify,
        verify_scraper=parts.callers.verify_scraper,
    )
