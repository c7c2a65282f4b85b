"""A real stack whose processes hang or are frozen: they are found within ten seconds, killed and started again."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from flowyard.service.watchdog import HUNG
from flowyard_embedded.stack.state import read_state
from support.cli import flowyard
from support.system import Embedded, embedded
from support.waiting import eventually_blocking

HANGING: Final = str(Path(__file__).parents[2] / "support" / "hanging")
FOUND_WITHIN_S: Final = 10
BACK_WITHIN_S: Final = 60

pytestmark = pytest.mark.timeout(180)
LONG: Final = pytest.mark.long


@pytest.fixture(scope="module")
def stack() -> Iterator[Embedded]:
    with embedded({"PYTHONPATH": HANGING}) as system:
        yield system


def process(stack: Embedded, name: str) -> Any:
    state = read_state(stack.home / "stack.json")
    assert state is not None
    (found,) = [process for process in state.processes if process.name == name]
    return found


def shown(stack: Embedded, name: str) -> str:
    """As `flowyard status` shows it."""
    done = flowyard("status", "--data", str(stack.home), "--json", cwd=stack.home)
    services = {service["name"]: service["state"] for service in json.loads(done.out)["services"]}
    return str(services[name])


def events(stack: Embedded, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for service, line in stack.log_lines() if service == name and line.startswith("{")]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param("registry", signal.SIGSTOP, id="a frozen registry"),
        pytest.param("executor-1", signal.SIGSTOP, id="a frozen executor", marks=LONG),
        pytest.param("executor-1", signal.SIGUSR1, id="a loop that waits", marks=LONG),
        pytest.param("executor-1", signal.SIGUSR2, id="no thread goes on", marks=LONG),
    ],
)
async def test_what_hangs_is_found_within_ten_seconds_killed_and_started_again(
    stack: Embedded, name: str, how: signal.Signals
) -> None:
    before = process(stack, name)
    stack.send(name, how)
    began = time.monotonic()
    eventually_blocking(lambda: process(stack, name).state == "silent", FOUND_WITHIN_S)
    # The gateway's answer doesn't say otherwise.
    assert shown(stack, name) != "healthy" or process(stack, name).starts > before.starts
    eventually_blocking(lambda: process(stack, name).pid != before.pid, FOUND_WITHIN_S)
    assert time.monotonic() - began < FOUND_WITHIN_S + 2
    await stack.back(name, after=before.starts)
    if how is signal.SIGUSR1:
        (hung,) = [line for line in events(stack, name) if line["event"] == "event loop hangs"]
        lines = next(iter(hung["stacks"].values()))
        assert lines[-1].endswith(" _block")
        assert any(line.get("exit_code") in (HUNG, -9) for line in events(stack, "flowyard"))


@LONG
async def test_a_silent_executor_of_another_machine_is_not_called_healthy(stack: Embedded) -> None:
    """Its supervisor isn't asked here: the gateway knows it by its heartbeats only."""
    stack.send("executor-2", signal.SIGSTOP)

    def is_silent() -> bool:
        status = httpx.get(f"{stack.url}/v1/status", headers=stack.headers, timeout=10).json()
        (executor,) = [one for one in status["executors"] if one["name"] == "executor-2"]
        return executor["healthy"] is False

    before = process(stack, "executor-2")
    eventually_blocking(is_silent, FOUND_WITHIN_S + 5)
    await stack.back("executor-2", after=before.starts)


@LONG
async def test_metrics_are_read_with_a_key_while_postgres_does_not_answer(stack: Embedded) -> None:
    names = ("gateway", "dashboard", "registry", "executor-1")

    def page(name: str, key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.get(f"{stack.address(name)}/metrics", headers=headers, timeout=4)

    assert {page(name, stack.key).status_code for name in names} == {200}
    stack.send("postgres", signal.SIGSTOP)
    # The statements of open connections go on: these are processes of their own.
    servers = psutil.Process(process(stack, "postgres").pid).children(recursive=True)
    try:
        for server in servers:
            server.suspend()
        eventually_blocking(
            lambda: all("flowyard_postgres_reachable 0.0" in page(name, stack.key).text for name in names), 30
        )
        for name in names:
            assert page(name, f"{stack.key[:-1]}x").status_code == 401
    finally:
        for server in servers:
            server.resume()
        stack.send("postgres", signal.SIGCONT)
    eventually_blocking(lambda: "flowyard_postgres_reachable 1.0" in page("gateway", stack.key).text, 20)


@LONG
@pytest.mark.parametrize("name", ["nats", "postgres"])
def test_a_frozen_server_is_not_called_healthy_and_goes_on_afterwards(stack: Embedded, name: str) -> None:
    before = process(stack, name)
    stack.send(name, signal.SIGSTOP)
    try:
        eventually_blocking(lambda: process(stack, name).state == "silent", FOUND_WITHIN_S)
        assert shown(stack, name) != "healthy"
    finally:
        stack.send(name, signal.SIGCONT)
    eventually_blocking(lambda: process(stack, name).state == "healthy", FOUND_WITHIN_S)
    assert process(stack, name) == before
