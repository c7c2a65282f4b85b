"""Secrets of every kind go through a whole system that logs all it can, and are looked for everywhere afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import pytest
from aiohttp import web

from flowyard.secrets.sealing import new_key
from support.canaries import (
    DOCUMENT,
    KEYS,
    SETTINGS,
    WITHIN_S,
    Stage,
    Watch,
    canary,
    look_at_database,
    look_at_files,
    run_story,
    stage_on,
)
from support.cli import flowyard
from support.otlp import Got, Receiver, otlp_receiver
from support.system import Embedded, embedded
from support.waiting import eventually

# Dozens of runs, and every page of every service. tests/compose/test_canary.py does the same after each change.
pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


@dataclass
class Embedding:
    """What the system stands on."""

    stage: Stage
    system: Embedded
    traces: Receiver
    database_url: str


@pytest.fixture
async def embedding(
    request: pytest.FixtureRequest, database_url: str, nats_url: str, tmp_path: Path
) -> AsyncIterator[Embedding]:
    if request.config.getoption("system") == "compose":
        pytest.skip("run in containers by tests/compose/test_canary.py")
    async with _embedding(database_url, nats_url, tmp_path) as embedding:
        yield embedding


@asynccontextmanager
async def _embedding(database_url: str, nats_url: str, home: Path) -> AsyncIterator[Embedding]:
    environment = {name: canary() for name in (*KEYS.values(), "CANARY_HEADER_TOKEN", "CANARY_OTHER")}
    watch = Watch({"sealing key": new_key(), "file": canary(), "header of traces": canary(), **environment})
    (home / "signature").write_text(f"{watch.canaries['file']}\n")
    async with _captured(nats_url, watch), otlp_receiver() as traces:
        _refuse_once(traces)
        told_to_services = {
            **environment,
            "FLOWYARD_DATABASE_URL": database_url,
            "FLOWYARD_NATS_URL": nats_url,
            "FLOWYARD_SECRET_KEY": watch.canaries["sealing key"],
            "FLOWYARD_REFERENCED_FILES": str(home),
            **SETTINGS,
            "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={watch.canaries['header of traces']}",
        }
        stack = embedded(told_to_services, executors=1)
        system = await asyncio.to_thread(stack.__enter__)
        try:
            async with stage_on(system, watch) as stage:
                yield Embedding(stage, system, traces, database_url)
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)


def _refuse_once(traces: Receiver) -> None:
    """And repeat what was sent."""

    def answer(_: list[Got]) -> web.Response | None:
        refusal = f"{traces.headers[-1]['x-key']} may not"
        return web.Response(status=401, text=refusal) if len(traces.bodies) == 1 else None

    traces.answer = answer


@asynccontextmanager
async def _captured(nats_url: str, watch: Watch) -> AsyncIterator[None]:
    """All that NATS carries."""
    connection = await nats.connect(nats_url)

    async def receive(message: Any) -> None:
        watch.look_at_bytes(f"message {message.subject}", message.data)

    try:
        await connection.subscribe("flowyard.>", cb=receive)
        await connection.flush()
        yield
    finally:
        await connection.close()


async def test_no_secret_is_found_anywhere(embedding: Embedding, tmp_path: Path) -> None:
    stage = embedding.stage
    runs = await run_story(stage)
    await _in_memory(stage, tmp_path)
    await _look_everywhere(embedding, runs)
    assert stage.watch.places == []
    # What is no secret was found everywhere: so would have been what is one.
    assert stage.watch.seen == {"answer", "stream", "message", "table", "file", "trace", "command"}
    assert stage.system.bugs() == []


async def _in_memory(stage: Stage, folder: Path) -> None:
    """A file, run in a process of its own."""
    document = DOCUMENT.replace("NAME", "file").replace("PROVIDER", "openai_like").replace("OUTPUT", "said")
    document = document.replace("BASE", stage.model.url).replace("KEY", "CANARY_API_KEY")
    (folder / "flow.yaml").write_text(document)
    (folder / "inputs.json").write_text(json.dumps(stage.inputs))
    environment = {name: stage.watch.canaries[name] for name in ("CANARY_API_KEY", "CANARY_HEADER_TOKEN")}
    environment["FLOWYARD_REFERENCED_FILES"] = str(folder)
    for case in ("echo", "refuse"):
        for more in ([], ["--json", "--stream"]):
            await _run_file(stage, case, more, folder, environment)


async def _run_file(stage: Stage, case: str, more: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    args = ["run", "flow.yaml", "--inputs", "inputs.json", "-i", f"case={case} {stage.watch.planted}", *more]
    ended = await asyncio.to_thread(flowyard, *args, cwd=folder, env=environment)
    assert ended.code == (0 if case == "echo" else 1), ended.err
    assert "user:***" in ended.out + ended.err
    stage.watch.look(f"command {' '.join(args)}", ended.out + ended.err)


async def _look_everywhere(embedding: Embedding, runs: list[str]) -> None:
    watch, traces = embedding.stage.watch, embedding.traces
    wanted = {run_id.replace("-", "") for run_id in runs}
    await eventually(lambda: wanted <= traces.trace_ids, WITHIN_S)
    assert {headers["x-key"] for headers in traces.headers} == {watch.canaries["header of traces"]}
    for body in traces.bodies:
        watch.look_at_bytes("trace", body)
    await look_at_database(watch, embedding.database_url)
    look_at_files(watch, embedding.system.home)
