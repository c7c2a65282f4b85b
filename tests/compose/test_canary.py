"""Secrets of every kind go through containers that log all they can, and are looked for everywhere afterwards.

They come as users give them: in .env, in deploy/models.env, as files of deploy/secrets/own, in a mounted folder.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import nats
import pytest

from flowyard.access import KEY_RANDOM, new_key
from flowyard.bus.subjects import PERMISSIONS
from flowyard.secrets.sealing import new_key as new_sealing_key
from support.canaries import SETTINGS, WITHIN_S, Stage, Watch, canary, look_at_files, run_story, stage_on
from support.compose import MOUNTED, OURS, Composed, Project, bridge, checkout, docker, inspect, project, timed
from support.mlflow import Mlflow
from support.neighbourhood import Neighbourhood, neighbourhood
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Odd, Status
from support.wire.openai import openai_server
from support.wire.server import Request, WireServer

PASSWORDS: Final = (
    "postgres", "postgres_owner", "postgres_registry", "postgres_executor", "postgres_gateway", "postgres_dashboard",
    "nats_registry", "nats_executor", "nats_gateway",
)  # fmt: skip
"""Given as files; the others as variables."""
VARIABLES: Final = {
    "secrets": ("FLOWYARD_POSTGRES_MLFLOW_PASSWORD", "FLOWYARD_NATS_DASHBOARD_PASSWORD", "FLOWYARD_GRAFANA_PASSWORD"),
    "executor": ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"),
}
MODELS_ENV: Final = ("CANARY_API_KEY", "CANARY_HEADER_TOKEN", "CANARY_OTHER")
MAY_HAVE: Final = {
    "secrets": {*VARIABLES["secrets"], "FLOWYARD_ADMIN_KEY"},
    "executor": {*VARIABLES["executor"], *MODELS_ENV},
    "registry": {"OTEL_EXPORTER_OTLP_HEADERS"},
}
"""Who is given secrets in its environment: nobody else may have them there."""
VOLUMES: Final = {"nats": "/nats", "mlflow": "/artifacts", "prometheus": "/prometheus"}
SERVERS: Final = {*OURS, *VOLUMES, "postgres"}
BY_THE_WAY: Final = {"answer", "stream", "message"}
AFTERWARDS: Final = {"trace", "metrics", "series", "command", "table", "container", "process", "event", "log", "file"}
PROCESSES: Final = "cat /proc/[0-9]*/cmdline; find /tmp -type f -exec cat {} + || true"


@dataclass(frozen=True)
class Stack:
    """`begun`: in seconds since 1970. `collector`: takes traces, as MLflow does."""

    stage: Stage
    system: Composed
    collector: WireServer
    begun: float

    @property
    def project(self) -> Project:
        return self.system.project

    @property
    def watch(self) -> Watch:
        return self.stage.watch


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    watch = Watch({name: canary() for name in (*VARIABLES["secrets"], *VARIABLES["executor"], *MODELS_ENV)})
    watch.canaries |= {"file": canary(), "header of traces": canary()}
    near, begun = neighbourhood(bridge(), tmp_path / "mounted"), time.time()
    folder = _checkout(tmp_path, near.files, watch)
    async with openai_server(_refuse_once(watch), host=bridge()) as collector:
        lines = [f"{name}={value}\n" for name, value in _settings(watch, collector).items()]
        (folder / ".env").write_text("".join(lines))
        with project(folder) as made:
            system = await asyncio.to_thread(_up, replace(made, env_file=folder / ".env"), near)
            watch.canaries["admin key"] = system.key.rpartition("_")[2]
            async with stage_on(system, watch) as stage:
                yield Stack(stage, system, collector, begun)


def _checkout(home: Path, mounted: Path, watch: Watch) -> Path:
    """As somebody has it who gives secrets of his own, and has mounted a folder of files that documents refer to."""
    folder = checkout(home / "checkout", mounted, "executor")
    own = {f"{name}_password": canary() for name in PASSWORDS}
    own |= {"prometheus_key": new_key(secrets.token_bytes(KEY_RANDOM)).text, "secret_key": new_sealing_key()}
    for name, value in own.items():
        (folder / "deploy/secrets/own" / name).write_text(f"{value}\n")
    watch.canaries |= {f"file {name}": value for name, value in own.items()}
    lines = [f"{name}={watch.canaries[name]}\n" for name in MODELS_ENV]
    (folder / "deploy/models.env").write_text("".join(lines))
    (mounted / "signature").write_text(f"{watch.canaries['file']}\n")
    return folder


def _settings(watch: Watch, collector: WireServer) -> Mapping[str, str]:
    given = {name: watch.canaries[name] for names in VARIABLES.values() for name in names}
    return {
        **given,
        **SETTINGS,
        "FLOWYARD_REFERENCED_FILES": MOUNTED,
        "OTEL_SERVICE_NAME": watch.planted,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={watch.canaries['header of traces']}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
    }


def _refuse_once(watch: Watch) -> Callable[[Request], Behaviour]:
    """And repeat what was sent."""
    refused: list[Request] = []

    def reply(request: Request) -> Behaviour:
        assert request.headers["x-key"] == watch.canaries["header of traces"]
        if refused:
            return Odd({})
        refused.append(request)
        return Status(401, message=f"{request.headers['x-key']} may not")

    return reply


def _up(made: Project, near: Neighbourhood) -> Composed:
    made.build()
    up_s = timed(lambda: made.up("--no-build"))
    return Composed(made.url("gateway"), made.url("dashboard"), made.key, near, made, up_s, [])


@asynccontextmanager
async def _captured(made: Project, watch: Watch) -> AsyncIterator[None]:
    """All that NATS carries, received by users who may."""

    async def receive(message: Any) -> None:
        watch.look_at_bytes(f"message {message.subject}", message.data)

    network, *_ = inspect(made.container("nats"))["NetworkSettings"]["Networks"].values()
    async with AsyncExitStack() as opened:
        for user in ("registry", "executor", "gateway"):
            password = watch.canaries[f"file nats_{user}_password"]
            connection = await nats.connect(f"nats://{network['IPAddress']}:4222", user=user, password=password)
            opened.push_async_callback(connection.close)
            for subject in PERMISSIONS[user].subscribe:
                if subject.startswith("flowyard."):
                    await connection.subscribe(subject, cb=receive)
            await connection.flush()
        yield


async def test_no_secret_is_found_anywhere(stack: Stack, tmp_path: Path) -> None:
    async with _captured(stack.project, stack.watch):
        runs = await run_story(stack.stage)
    await _look_at_traces(stack, runs)
    await _lose_servers(stack)
    await _look_at_metrics(stack)
    for look in (_look_at_commands, _look_at_tables, _look_at_containers, _look_at_logs):
        await asyncio.to_thread(look, stack)
    await asyncio.to_thread(_look_at_files, stack, tmp_path)
    assert stack.watch.places == []
    # What is no secret was found everywhere: so would have been what is one.
    # Prometheus may have it or not: in a rule whose alert is about to fire.
    assert stack.watch.seen - {"prometheus"} == BY_THE_WAY | AFTERWARDS
    assert stack.system.bugs() == []


async def _lose_servers(stack: Stack) -> None:
    """Whoever can't reach one says so, and may say too much."""
    visitor, pages = stack.stage.visitor, stack.stage.dashboard
    await stack.project.does("stop", "--timeout", "2", "postgres", "nats")
    assert {
        (await client.get(path)).status_code for client, path in ((visitor.http, "/v1/runs"), (pages, "/runs"))
    } == {503}
    await stack.project.does("start", "postgres", "nats")

    async def is_back() -> bool:
        return (await visitor.http.get("/v1/runs")).status_code == 200

    await eventually(is_back, WITHIN_S)


async def _look_at_traces(stack: Stack, runs: list[str]) -> None:
    """Those that MLflow has, and those that somebody else was sent."""
    mlflow, wanted = Mlflow(stack.project.url("mlflow"), pid=0), {UUID(run_id) for run_id in runs}
    for run_id in wanted:
        stack.watch.look("trace of MLflow", json.dumps(await _trace(mlflow, run_id)))
    await eventually(lambda: wanted <= _sent(stack.collector), WITHIN_S)
    stack.watch.look("trace of OTLP", json.dumps([request.body for request in stack.collector.requests]))


def _sent(collector: WireServer) -> set[UUID]:
    """The runs."""
    of_resources = [one for request in collector.requests for one in request.body["resourceSpans"]]
    of_scopes = [one for of_resource in of_resources for one in of_resource["scopeSpans"]]
    return {UUID(span["traceId"]) for of_scope in of_scopes for span in of_scope["spans"]}


async def _trace(mlflow: Mlflow, run_id: UUID) -> Any:
    """As soon as it is there."""

    async def look() -> Any:
        with suppress(httpx.HTTPStatusError):
            return await asyncio.to_thread(mlflow.trace, run_id)

    return await eventually(look, WITHIN_S)


async def _look_at_metrics(stack: Stack) -> None:
    watch, key = stack.watch, stack.watch.canaries["file prometheus_key"]
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=WITHIN_S) as http:
        for service in OURS:
            answer = await http.get(f"{stack.system.address(service)}/metrics")
            assert answer.status_code == 200, service
            watch.look(f"metrics {service}", answer.text)
    async with httpx.AsyncClient(base_url=stack.project.url("prometheus"), timeout=WITHIN_S) as http:
        for path in ("/metrics", "/api/v1/targets", "/api/v1/rules", "/api/v1/status/config", "/api/v1/status/flags"):
            watch.look(f"prometheus {path}", (await http.get(path)).text)

        async def look() -> bool:
            text = (await http.get("/api/v1/series", params={"match[]": '{__name__=~".+"}'})).text
            watch.look("series", text)
            return watch.planted in text

        await eventually(look, WITHIN_S)


def _look_at_commands(stack: Stack) -> None:
    stack.watch.look("command", stack.project.compose("run", "--rm", "cli", "runs", "list", "--json"))


def _look_at_tables(stack: Stack) -> None:
    """Of all databases."""
    dump = docker("exec", stack.project.container("postgres"), "pg_dumpall", "--username=postgres")
    for part in dump.split("\nCOPY "):
        stack.watch.look(f"table {part.partition(' ')[0]}", part)
    assert {"flowyard", "mlflow"} <= set(re.findall(r"^\\connect (\w+)$", dump, re.M))


def _look_at_files(stack: Stack, home: Path) -> None:
    """Of all volumes, but for those of Postgres, which was searched by queries, and of the secrets."""
    for service, path in VOLUMES.items():
        docker("cp", f"{stack.project.container(service)}:{path}", str(home / service))
        look_at_files(stack.watch, home / service)


def _look_at_containers(stack: Stack) -> None:
    """What Docker shows of them to anybody who may call it, and what a process shows to its neighbours."""
    watch, mine = stack.watch, f"label=com.docker.compose.project={stack.project.name}"
    for container in docker("ps", "--all", "--quiet", "--filter", mine).split():
        state = inspect(container)
        service = state["Config"]["Labels"]["com.docker.compose.service"]
        allowed = MAY_HAVE.get(service, set())
        state["Config"]["Env"] = [line for line in state["Config"]["Env"] if line.partition("=")[0] not in allowed]
        watch.look(f"container {service}", json.dumps(state))
        if state["State"]["Running"]:
            watch.look(f"process {service}", docker("exec", container, "sh", "-c", PROCESSES, watch.planted))
    text = docker("events", "--since", f"{stack.begun:.0f}", "--until", f"{time.time():.0f}", "--filter", mine)
    watch.look("event", text)


def _look_at_logs(stack: Stack) -> None:
    logs: dict[str, list[str]] = defaultdict(list)
    for line in stack.project.logs(of=()).splitlines():
        service, _, text = line.partition("| ")
        logs[service.strip().rpartition("-")[0]].append(text)
    for service, lines in logs.items():
        stack.watch.look(f"log {service}", "\n".join(lines))
    assert logs.keys() >= SERVERS
