"""What rings when a part of the stack is stopped: one alert, which names it. What happens to a frozen process."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Final

import pytest

from flowyard.service.own_name import container_name
from support.compose import Composed, docker, inspect
from support.prometheus import series_of
from support.visitor import Visitor
from support.waiting import eventually

# Prometheus looks every five seconds, and decides every fifteen.
pytestmark = pytest.mark.timeout(600)

RINGS_WITHIN_S: Final = 90
SILENT_WITHIN_S: Final = 150
FOUND_WITHIN_S: Final = 15
PARTS: Final = [
    ("stop", "postgres", "FlowyardPostgresDown"),
    ("stop", "nats", "FlowyardNatsDown"),
    ("stop", "registry", "FlowyardServiceMissing"),
    ("stop", "gateway", "FlowyardServiceMissing"),
    ("stop", "dashboard", "FlowyardServiceMissing"),
    ("stop", "executor", "FlowyardNoExecutors"),
    ("kill", "executor-2", "FlowyardExecutorLost"),
    ("pause", "gateway", "FlowyardProcessHangs"),
]


async def firing(compose: Composed) -> dict[str, dict[str, str]]:
    """The labels of each alert that fires, by its name."""
    series = await series_of(compose.project.url("prometheus"), 'ALERTS{alertstate="firing"}')
    return {alert["metric"]["alertname"]: alert["metric"] for alert in series}


async def is_silent(compose: Composed) -> bool:
    return not await firing(compose)


@pytest.mark.rare
@pytest.mark.parametrize(("how", "part", "alert"), PARTS)
async def test_a_part_that_is_stopped_rings_one_alert_that_names_it_and_no_other(
    compose: Composed, how: str, part: str, alert: str
) -> None:
    await eventually(lambda: is_silent(compose), SILENT_WITHIN_S, pause_s=2)
    containers = compose.project.containers(part) if part == "executor" else [compose.project.container(part)]
    seen: dict[str, dict[str, str]] = {}

    async def rings() -> bool:
        now = await firing(compose)
        seen.update(now)
        return alert in now

    await asyncio.to_thread(docker, how, *containers)
    try:
        await eventually(rings, RINGS_WITHIN_S, pause_s=2, explain=lambda: str(seen))
        # Long enough for those that come later.
        until = time.monotonic() + 40
        while time.monotonic() < until:
            await rings()
            await asyncio.sleep(2)
    finally:
        await asyncio.to_thread(docker, "unpause" if how == "pause" else "start", *containers)
    await eventually(lambda: is_silent(compose), SILENT_WITHIN_S, pause_s=2)
    assert seen.keys() == {alert}
    assert seen[alert].get("name") in {None, compose.project.container(part)}


@pytest.mark.parametrize("service", ["executor-1", "registry"])
async def test_a_frozen_process_is_killed_by_its_health_check_and_its_container_starts_again(
    compose: Composed, service: str
) -> None:
    starts = compose.send(service, signal.SIGSTOP)
    container = compose.project.container(service)

    async def is_started_again() -> bool:
        return bool((await asyncio.to_thread(inspect, container))["RestartCount"] > starts)

    await eventually(is_started_again, FOUND_WITHIN_S, pause_s=0.5)
    await compose.back(service, after=starts)


async def test_an_executor_has_one_name_everywhere(compose: Composed, visitor: Visitor) -> None:
    names = {
        line.split()[0] for line in compose.project.compose("ps", "executor", "--format", "{{.Name}}").splitlines()
    }
    status = await visitor.get("/v1/status")
    assert {executor["name"] for executor in status["executors"]} == names
    series = await series_of(compose.project.url("prometheus"), 'flowyard_build_info{job="executor"}')
    assert {one["metric"]["name"] for one in series} == names
    assert container_name() not in names, "this test runs in none of them"
