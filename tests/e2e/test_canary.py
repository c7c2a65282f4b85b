"""Secrets of every kind go through a whole system that logs all it can, and are looked for everywhere afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import nats
import pytest

from flowyard.sealing import new_key
from support.canaries import Watch, canary, look_at_database, look_at_files
from support.cli import flowyard
from support.executors import prompt_of
from support.otlp import Receiver, otlp_receiver
from support.system import Embedded, embedded
from support.visitor import Found, Visitor, visitor_of
from support.wire.behaviour import Behaviour, Hang, Odd, Status, Text
from support.wire.openai import openai_server
from support.wire.server import Request, WireServer

DOCUMENT: Final = """\
flow: {name: NAME}
state:
  fields:
    case: {type: str, required: true}
    token: {type: str, required: true, secret: true}
    certificate: {type: str, required: true, secret: true}
    said: str
    number: int
nodes:
  - id: ask
    system: You know {certificate}.
    inputs: {login: 'user:{token}'}
    prompt: '{case} {login} {certificate}'
    outputs: [OUTPUT]
    retry: {max_retries: 1, initial_delay: 0}
    log_prompts: true
config:
  llm:
    provider: PROVIDER
    model: m
    api_base: 'BASE'
    api_key_env: CANARY_API_KEY
    extra:
      extra_headers: {X-Tenant: 'tenant ${env:CANARY_HEADER}', X-Signed: '${file:signature}'}
"""
PROVIDERS: Final = ("openai_like", "openai")
"""Asked directly, and through LiteLLM."""
_WITHIN_S: Final = 60


@dataclass
class Told:
    """What a model is told, and does with it: by the first word of its prompt."""

    asked: dict[str, int]

    def reply(self, request: Request) -> Behaviour:
        prompt = prompt_of(request)
        case = prompt.split(" ")[0]
        self.asked[case] = self.asked.get(case, 0) + 1
        everything = f"{prompt} {json.dumps(dict(request.headers))} {json.dumps(request.body)} {_encoded(prompt)}"
        match case:
            case "refuse":
                return Status(400, message=everything)
            case "refuse-raw":
                return Status(403, headers={"X-Echo": request.headers["authorization"]}, message=everything)
            case "busy" if self.asked[case] == 1:
                return Status(503, message=everything)
            case "broken":
                return Odd({"error": {"message": everything}})
            case "hang":
                return Hang()
            case _:
                return Text(everything)


def _encoded(prompt: str) -> str:
    """As a model might be asked to encode what it was told."""
    login = next(word for word in prompt.split(" ") if word.startswith("user:")).removeprefix("user:")
    return f"{base64.b64encode(login.encode()).decode()} {login.encode().hex()}"


@dataclass
class Stage:
    system: Embedded
    visitor: Visitor
    dashboard: httpx.AsyncClient
    model: WireServer
    told: Told
    traces: Receiver
    watch: Watch
    inputs: dict[str, str]
    database_url: str

    async def run(self, name: str, case: str) -> Found:
        """To its end, followed as it goes."""
        run_id = await self.submit(name, f"{case} {self.watch.planted}")
        await self.read_stream(run_id)
        return await self.visitor.ended(run_id)

    async def submit(self, name: str, case: str) -> str:
        return await self.visitor.submit(name, None, case=case, **self.inputs)

    async def read_stream(self, run_id: str) -> None:
        async with self.visitor.stream(run_id) as events, asyncio.timeout(_WITHIN_S):
            async for event in events:
                self.watch.look(f"stream {event.event}", event.data)


@asynccontextmanager
async def _stage(database_url: str, nats_url: str, home: Path) -> AsyncIterator[Stage]:
    sealing = new_key()
    environment = {"CANARY_API_KEY": canary(), "CANARY_HEADER": canary(), "CANARY_OTHER": canary()}
    inputs = {"token": canary(), "certificate": f'{canary()}: "ä\\é", +/&=\nsecond line of {canary()}'}
    sent = {name: canary() for name in ("authorization", "cookie", "x-custom", "number")}
    sent["number"] = str(secrets.randbelow(10**24) + 10**24)
    file = canary()
    (home / "signature").write_text(f"{file}\n")
    watch = Watch({"sealing key": sealing, "file": file, **environment, **inputs, **sent})
    watch.canaries["first line"] = inputs["certificate"].partition(":")[0]
    watch.canaries["last word"] = inputs["certificate"].rpartition(" ")[2]
    told = Told({})
    async with (
        _captured(nats_url, watch),
        otlp_receiver() as traces,
        openai_server(told.reply) as model,
    ):
        told_to_services = {
            **environment,
            "FLOWYARD_DATABASE_URL": database_url,
            "FLOWYARD_NATS_URL": nats_url,
            "FLOWYARD_SECRET_KEY": sealing,
            "FLOWYARD_REFERENCED_FILES": str(home),
            "FLOWYARD_LOG_LEVEL": "debug",
            "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url,
        }
        stack = embedded(told_to_services)
        system = await asyncio.to_thread(stack.__enter__)
        try:
            async with visitor_of(system.url, system.key) as visitor, _dashboard(system) as dashboard:
                stage = Stage(system, visitor, dashboard, model, told, traces, watch, inputs, database_url)
                for client in (visitor.http, dashboard):
                    client.event_hooks["response"].append(_reader(watch))
                yield stage
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)


@asynccontextmanager
async def _captured(nats_url: str, watch: Watch) -> AsyncIterator[None]:
    """All that NATS carries."""
    connection = await nats.connect(nats_url)

    async def heard(message: Any) -> None:
        watch.look_at_bytes(f"message {message.subject}", message.data)

    try:
        await connection.subscribe("flowyard.>", cb=heard)
        await connection.flush()
        yield
    finally:
        await connection.close()


@asynccontextmanager
async def _dashboard(system: Embedded) -> AsyncIterator[httpx.AsyncClient]:
    url = system.dashboard_url
    async with httpx.AsyncClient(base_url=url, headers={"origin": url}, timeout=_WITHIN_S) as client:
        assert (await client.post("/login", data={"key": system.key})).status_code == 303
        yield client


def _reader(watch: Watch) -> Callable[[httpx.Response], Awaitable[None]]:
    async def read(response: httpx.Response) -> None:
        if "event-stream" in response.headers.get("content-type", ""):
            return
        await response.aread()
        head = f"{response.headers}"
        watch.look(f"answer {response.request.method} {response.request.url.path}", f"{head} {response.text}")

    return read


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, database_url: str, nats_url: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    if request.config.getoption("system") == "compose":
        pytest.skip("the services' environment, database and NATS have to be the test's: told on the embedded system")
    async with _stage(database_url, nats_url, tmp_path) as stage:
        yield stage


async def test_no_secret_is_found_anywhere(stage: Stage, tmp_path: Path) -> None:
    runs: list[str] = []
    texts = ""
    for provider in PROVIDERS:
        document = DOCUMENT.replace("PROVIDER", provider).replace("BASE", stage.model.url)
        texts, numbers = (f"{kind}-{provider}-{stage.watch.planted}" for kind in ("texts", "numbers"))
        for name, output in ((texts, "said"), (numbers, "number")):
            await stage.visitor.apply(name, document.replace("NAME", name).replace("OUTPUT", output))
        stage.told.asked.clear()
        runs += await _run_all(stage, texts, numbers)
    await _ask_wrongly(stage, texts)
    await _by_hand(stage, texts, runs[-1])
    await _in_memory(stage, tmp_path)
    await _look_everywhere(stage, runs)
    _the_model_was_told(stage)
    assert stage.watch.found == []
    # What is no secret was found everywhere: so would have been what is one.
    assert stage.watch.seen == {"answer", "stream", "message", "table", "file", "trace", "command"}
    assert stage.system.bugs() == []


async def _run_all(stage: Stage, texts: str, numbers: str) -> list[str]:
    visitor = stage.visitor
    echoed = await stage.run(texts, "echo")
    assert echoed["status"] == "succeeded"
    assert f"echo {stage.watch.planted} user:*** ***" in echoed["outputs"]["said"]
    assert (echoed["inputs"]["token"], echoed["inputs"]["certificate"]) == ("***", "***")
    failed = [await stage.run(name, case) for name, case in ((texts, "refuse"), (texts, "refuse-raw"))]
    failed += [await stage.run(texts, "broken"), await stage.run(numbers, "odd")]
    codes = ["model_refused", "model_refused", "provider_error", "invalid_output"]
    assert [run["error"]["code"] for run in failed] == codes
    assert "user:***" in failed[0]["error"]["message"]
    assert "user:***" in failed[3]["error"]["reply"]
    retried = await stage.run(texts, "busy")
    assert retried["status"] == "succeeded"
    hanging = await stage.submit(texts, "hang")
    await _until(lambda: "hang" in stage.told.asked)
    await visitor.post(f"/v1/runs/{hanging}/cancel")
    assert (await visitor.ended(hanging))["status"] == "cancelled"
    again = await visitor.post(f"/v1/runs/{failed[0]['id']}/retry")
    assert again.status_code == 202
    assert (await visitor.ended(failed[0]["id"]))["status"] == "failed"
    forks = await _fork(stage, echoed["id"])
    return [echoed["id"], retried["id"], hanging, *(run["id"] for run in failed), *forks]


async def _fork(stage: Stage, origin: str) -> list[str]:
    """Each goes on with the secrets of its origin; the last one with one of its own."""
    stage.watch.canaries["changed"] = changed = canary()
    orders: list[dict[str, Any]] = [
        {},
        {"inputs": {"token": "***", "case": "other"}},
        {"from": {"node": "ask"}, "state": {"token": "***", "case": "third"}},
        {"from": {"node": "ask"}, "state": {"token": changed}},
    ]
    ids = []
    for order in orders:
        response = await stage.visitor.post(f"/v1/runs/{origin}/fork", **order)
        assert response.status_code in {200, 202}, response.text
        run = await stage.visitor.ended(response.json()["id"])
        assert (run["status"], run["inputs"]["token"]) == ("succeeded", "***")
        assert f"user:{changed if order is orders[-1] else stage.inputs['token']}" in prompt_of(
            stage.model.requests[-1]
        )
        ids.append(run["id"])
    return ids


async def _ask_wrongly(stage: Stage, name: str) -> None:
    """What is refused, and what is sent beside."""
    visitor, canaries = stage.visitor, stage.watch.canaries
    path, inputs = f"/v1/workflows/{name}/runs", stage.inputs
    number = int(canaries["number"])
    for token in (number, [inputs["token"]], {"a": inputs["token"]}, "***", None):
        answer = await visitor.post(path, inputs={**inputs, "case": "echo", "token": token})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_inputs"), answer.text
    for body in (f'{{"inputs": {{"token": "{inputs["token"]}', f'{{"inputs": "{inputs["token"]}"}}', f"[{number}]"):
        assert (await visitor.http.post(path, content=body)).status_code == 422
    assert (await visitor.post(path, inputs={**inputs, "case": 1})).status_code == 422
    headers = {"X-Custom": canaries["x-custom"], "Cookie": f"session={canaries['cookie']}"}
    key = {"Authorization": f"Bearer fy_abcdefgh_{canaries['authorization']}"}
    assert (await visitor.post(path, headers=headers, inputs={**inputs, "case": "echo"})).status_code == 202
    assert (await visitor.post(path, headers={**headers, **key}, inputs=inputs)).status_code == 401
    assert (await stage.dashboard.get("/runs", headers={**headers, **key})).status_code in {200, 303}
    once = {"Idempotency-Key": "the-same"}
    bodies = [{**inputs, "case": "echo"}, {**inputs, "case": "echo"}, {**inputs, "case": "echo", "token": "another"}]
    answers = [await visitor.post(path, headers=once, inputs=body) for body in bodies]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert answers[2].json()["code"] == "idempotency_mismatch"
    await visitor.ended(answers[0].json()["id"])


async def _by_hand(stage: Stage, name: str, run_id: str) -> None:
    """On the pages, and by the command line."""
    pages, inputs = stage.dashboard, stage.inputs
    form = {"once": "x", "input.token": inputs["token"], "input.certificate": inputs["certificate"]}
    assert 'type="password"' in (await pages.get(f"/workflows/{name}")).text
    assert (await pages.post(f"/workflows/{name}/runs", data=form)).status_code == 422
    started = await pages.post(f"/workflows/{name}/runs", data={**form, "input.case": "echo"})
    twice = await pages.post(f"/workflows/{name}/runs", data={**form, "input.case": "echo"})
    assert (started.status_code, twice.headers["location"]) == (303, started.headers["location"])
    ended = await stage.visitor.ended(started.headers["location"].rpartition("/")[2])
    assert ended["outputs"]["said"].startswith("echo user:***")
    assert (await pages.get(started.headers["location"])).status_code == 200
    changes = json.dumps({"token": inputs["token"], "nothing": 1})
    refused = await pages.post(f"/runs/{run_id}/fork", data={"from": "START", "changes": changes})
    assert refused.status_code == 422
    half = await pages.post(f"/runs/{run_id}/fork", data={"from": "START", "changes": changes[:-2]})
    assert half.status_code == 422
    forked = await pages.post(f"/runs/{run_id}/fork", data={"from": "START", "changes": '{"token": "***"}'})
    assert forked.status_code == 303
    environment = {"FLOWYARD_URL": stage.system.url, "FLOWYARD_API_KEY": stage.system.key}
    for args in (["runs", "show", run_id], ["runs", "show", run_id, "--json"], ["runs", "list", "--json"], ["status"]):
        ended_command = await asyncio.to_thread(flowyard, *args, cwd=Path("/"), env=environment)
        stage.watch.look(f"command {' '.join(args)}", ended_command.out + ended_command.err)


async def _in_memory(stage: Stage, folder: Path) -> None:
    """A file, run in a process of its own."""
    document = DOCUMENT.replace("NAME", "file").replace("PROVIDER", "openai_like").replace("OUTPUT", "said")
    (folder / "flow.yaml").write_text(document.replace("BASE", stage.model.url))
    (folder / "inputs.json").write_text(json.dumps(stage.inputs))
    environment = {name: stage.watch.canaries[name] for name in ("CANARY_API_KEY", "CANARY_HEADER")}
    environment["FLOWYARD_REFERENCED_FILES"] = str(folder)
    for case in ("echo", "refuse"):
        for more in ([], ["--json", "--stream"]):
            args = ["run", "flow.yaml", "--inputs", "inputs.json", "-i", f"case={case} {stage.watch.planted}", *more]
            ended = await asyncio.to_thread(flowyard, *args, cwd=folder, env=environment)
            assert ended.code == (0 if case == "echo" else 1), ended.err
            assert "user:***" in ended.out + ended.err
            stage.watch.look(f"command {' '.join(args)}", ended.out + ended.err)


async def _look_everywhere(stage: Stage, runs: list[str]) -> None:
    for run_id in runs:
        for part in ("", "/events", "/steps", "/calls", "/profile"):
            await stage.visitor.get(f"/v1/runs/{run_id}{part}")
        await stage.dashboard.get(f"/runs/{run_id}")
    for path in ("/v1/runs", "/v1/costs", "/v1/status", "/v1/workflows"):
        await stage.visitor.get(path)
    wanted = {run_id.replace("-", "") for run_id in runs}
    await _until(lambda: wanted <= stage.traces.trace_ids)
    for body in stage.traces.bodies:
        stage.watch.look_at_bytes("trace", body)
    await look_at_database(stage.watch, stage.database_url)
    look_at_files(stage.watch, stage.system.home)


def _the_model_was_told(stage: Stage) -> None:
    """Else nothing could have been found."""
    canaries = stage.watch.canaries
    for request in stage.model.requests:
        assert request.headers["authorization"] == f"Bearer {canaries['CANARY_API_KEY']}"
        assert request.headers["x-tenant"] == f"tenant {canaries['CANARY_HEADER']}"
        assert request.headers["x-signed"] == canaries["file"]
        assert request.body["messages"][0]["content"] == f"You know {stage.inputs['certificate']}."


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while not happened():  # noqa: ASYNC110  # what another process does sets no event here
            await asyncio.sleep(0.05)
