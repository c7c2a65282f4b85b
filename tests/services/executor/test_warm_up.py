"""What an executor prepares before there is a run that needs it. Python itself prints what each has imported."""

from __future__ import annotations

import re
import resource
import signal
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from flowyard.bus.connection import open_bus
from flowyard.bus.messages import WorkflowChanged
from support.executors import ExecutorProcess, Yard, open_yard

DIRECT = """\
flow: {name: direct}
state: {fields: {said: str}}
nodes: [{id: ask, prompt: Hello, outputs: [said]}]
config: {llm: MODEL}
"""
IMPORTED = re.compile(r"^import time:.*\| +litellm\b")
LAST = "flowyard.llm.litellm_setup"


@pytest.fixture(autouse=True)
def _imports_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    monkeypatch.setenv("FLOWYARD_LITELLM", "openai")


def through_litellm(yard: Yard, name: str = "wide", **settings: str) -> str:
    """A document. `api_base` is on this machine, where no key is needed."""
    llm = {"provider": "openai", "model": "m", "api_base": yard.model.url, **settings}
    return f"""\
flow: {{name: {name}}}
state: {{fields: {{said: str}}}}
nodes: [{{id: ask, prompt: Hello, outputs: [said]}}]
config: {{llm: {llm}}}
"""


def imported(executor: ExecutorProcess) -> bool:
    return any(IMPORTED.match(line["event"]) for line in executor.lines)


def children_cpu_s() -> float:
    """The CPU time of the processes that were started here and have ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def prepared(executor: ExecutorProcess) -> list[str]:
    return [line["provider"] for line in executor.lines if line["event"] == "provider prepared"]


async def until_started(yard: Yard, run_id: Any) -> float:
    """Seconds from a run's start to that of its first step."""
    run = await yard.ended(run_id)
    assert run.status == "succeeded", run.error
    first = {entry.type: entry.at for entry in reversed(await yard.entries(run_id))}
    return float((first["step.started"] - first["run.claimed"]).total_seconds())


async def test_what_a_known_workflow_needs_is_prepared_before_its_first_run(database_url: str, nats_url: str) -> None:
    async with open_yard(database_url, nats_url) as yard:
        await yard.apply(through_litellm(yard))
        executor = await yard.executor("one", fresh=True)
        assert not imported(executor)  # it was ready before
        await executor.logged("provider prepared", within_s=30)
        assert imported(executor)
        assert yard.model.requests == []
        # The import alone takes more than two seconds.
        assert await until_started(yard, await yard.submit("wide")) < 1


@pytest.mark.long
async def test_what_is_needed_is_prepared_without_nats(database_url: str) -> None:
    async with open_yard(database_url, "nats://127.0.0.1:1") as yard:
        await yard.apply(through_litellm(yard))
        executor = await yard.executor("one")
        await executor.logged("provider prepared", within_s=30)


async def test_an_executor_imports_nothing_that_no_workflow_can_use(database_url: str, nats_url: str) -> None:
    async with open_yard(database_url, nats_url) as yard:
        await yard.apply(DIRECT)
        await yard.apply(through_litellm(yard, "keyless", api_key_env="NOBODY_HAS_THIS_API_KEY"))
        executor = await yard.executor("one", fresh=True, log_level="debug")
        assert (await executor.logged("prepared models in advance"))["workflows"] == 2
        assert (await yard.ended(await yard.submit("direct"))).status == "succeeded"
        assert not imported(executor)
        assert prepared(executor) == []


async def test_no_local_model_is_loaded_ahead(database_url: str, nats_url: str) -> None:
    async with open_yard(database_url, nats_url) as yard:
        # There is no such file, and whoever opened it would say so.
        nowhere = "{provider: local, model: nowhere.gguf}"
        await yard.apply(DIRECT.replace("MODEL", nowhere))
        executor = await yard.executor("one", log_level="debug")
        await executor.logged("prepared models in advance")
        assert not any("can't prepare a workflow" in line["event"] for line in executor.lines)


async def test_a_workflow_that_is_applied_later_is_prepared_too(database_url: str, nats_url: str) -> None:
    async with open_yard(database_url, nats_url) as yard, open_bus(nats_url, name="tests") as bus:
        executor = await yard.executor("one", log_level="debug")
        await executor.logged("prepared models in advance")
        bus.publish(WorkflowChanged(name=await yard.apply(through_litellm(yard))))
        await executor.logged("provider prepared", within_s=30)
        assert prepared(executor) == ["openai"]


async def test_a_run_that_comes_meanwhile_waits_for_the_preparation(database_url: str, nats_url: str) -> None:
    async with open_yard(database_url, nats_url) as yard:
        await yard.apply(through_litellm(yard))
        executor = await yard.executor("one", log_level="debug")
        await executor.logged("preparing a provider")
        run = await yard.ended(await yard.submit("wide"))
        assert run.status == "succeeded", run.error
        await executor.logged("run succeeded")
        assert prepared(executor) == ["openai"]


@pytest.mark.long
async def test_a_run_that_needs_none_of_it_does_not_wait(database_url: str, nats_url: str) -> None:
    async with open_yard(database_url, nats_url) as yard:
        await yard.apply(through_litellm(yard))
        await yard.apply(DIRECT)
        executor = await yard.executor("one", fresh=True, log_level="debug")
        await executor.logged("preparing a provider")
        run = await yard.ended(await yard.submit("direct"))
        assert run.status == "succeeded", run.error
        await executor.logged("run succeeded")
        # Python prints a module when it has all of it: this one after seconds.
        assert not any(LAST in line["event"] for line in executor.lines)
        await executor.logged(LAST, within_s=30)


@pytest.mark.long
async def test_an_executor_ends_in_the_middle_of_a_preparation(database_url: str, nats_url: str) -> None:
    async with open_yard(database_url, nats_url) as yard:
        await yard.apply(through_litellm(yard))
        executor = await yard.executor("one", fresh=True, log_level="debug")
        await executor.logged("preparing a provider")
        before = children_cpu_s() + psutil.Process(executor.process.pid).cpu_times().user
        executor.send(signal.SIGTERM)
        assert await executor.process.wait() == 0
        # The import takes 3 s, and the rest 0.1 s.
        assert children_cpu_s() - before < 1.5
        assert prepared(executor) == []
