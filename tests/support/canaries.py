"""Values that must not be found anywhere, a story in which a whole system is given them, and the looking for them."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import asyncpg
import httpx

from support.cli import flowyard
from support.executors import prompt_of
from support.system import System
from support.visitor import JsonObject, Visitor, visitor_of
from support.waiting import eventually
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
    api_key_env: KEY
    extra:
      extra_headers: {X-Tenant: 'tenant ${env:CANARY_HEADER_TOKEN}', X-Signed: '${file:signature}'}
"""
KEYS: Final = {"openai_like": "CANARY_API_KEY", "openai": "OPENAI_API_KEY"}
"""The variable of the key of each provider."""
SETTINGS: Final = {"FLOWYARD_LOG_LEVEL": "debug", "FLOWYARD_LOG_PROMPTS": "true", "FLOWYARD_LITELLM": "openai"}
"""Of executors: all is logged, and one of the providers is called directly, the other one through LiteLLM."""
WITHIN_S: Final = 60


def canary() -> str:
    """As keys look: nothing else holds it, however it is spelled."""
    return f"canary{secrets.token_hex(12)}"


@dataclass
class Watch:
    """`canaries`: what is looked for, by what it is. `found`: where one of them was.

    `planted` is no secret, and is to be found: `seen` says in which kinds of places it was.
    """

    canaries: dict[str, str]
    planted: str = field(default_factory=canary)
    seen: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)

    def look(self, where: str, text: str) -> None:
        kind = where.partition(" ")[0]
        if any(form in text for _, form in spellings(self.planted)):
            self.seen.add(kind)
        for name, value in self.canaries.items():
            spelling, form = next(((how, form) for how, form in spellings(value) if form in text), ("", ""))
            if form:
                at = text.index(form)
                self.places.append(f"{name} ({spelling}) in {where}: …{text[max(0, at - 120) : at + 40]}…")

    def look_at_bytes(self, where: str, data: bytes) -> None:
        self.look(where, data.decode("utf-8", errors="replace"))


@cache
def spellings(value: str) -> tuple[tuple[str, str], ...]:
    return tuple(_spellings(value))


def _spellings(value: str) -> Iterator[tuple[str, str]]:
    data = value.encode()
    yield "plain", value
    yield "JSON", json.dumps(value)[1:-1]
    yield "URL", quote(value, safe="")
    yield "form", quote_plus(value)
    yield "hex", data.hex()
    yield "HEX", data.hex().upper()
    # Base64 of a longer text that it stands in, wherever: what its neighbours can't change.
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).decode()
        yield "Base64", whole[(8 * before + 5) // 6 : len(whole) - 4]


async def look_at_database(watch: Watch, url: str) -> None:
    """Every row of every table, as text."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables"
            " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        for table in tables:
            for row in await connection.fetch(f"SELECT t::text AS row FROM {table['name']} t"):
                watch.look(f"table {table['name']}", row["row"])
        for row in await connection.fetch("SELECT query FROM pg_stat_activity"):
            watch.look("activity", row["query"] or "")
    finally:
        await connection.close()


def look_at_files(watch: Watch, folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            watch.look_at_bytes(f"file {file.relative_to(folder)}", file.read_bytes())


@dataclass
class Echo:
    """What a model receives, and does with it: by the first word of its prompt."""

    times: dict[str, int]

    def reply(self, request: Request) -> Behaviour:
        prompt = prompt_of(request)
        case = prompt.split(" ")[0]
        self.times[case] = self.times.get(case, 0) + 1
        everything = f"{prompt} {json.dumps(dict(request.headers))} {json.dumps(request.body)} {_encoded(prompt)}"
        match case:
            case "refuse":
                return Status(400, message=everything)
            case "refuse-raw":
                return Status(403, headers={"X-Echo": request.headers["authorization"]}, message=everything)
            case "busy" if self.times[case] == 1:
                return Status(503, message=everything)
            case "broken":
                return Odd({"error": {"message": everything}})
            case "hang":
                return Hang()
            case _:
                return Text(everything)


def _encoded(prompt: str) -> str:
    """As a model might encode what it received."""
    login = next(word for word in prompt.split(" ") if word.startswith("user:")).removeprefix("user:")
    return f"{base64.b64encode(login.encode()).decode()} {login.encode().hex()}"


@dataclass
class Stage:
    """A system that was given canaries, and who has to do with it. `inputs`: those that are secret."""

    system: System
    visitor: Visitor
    dashboard: httpx.AsyncClient
    model: WireServer
    echo: Echo
    watch: Watch
    inputs: dict[str, Any]

    async def run(self, name: str, case: str) -> JsonObject:
        """To its end, followed as it goes."""
        run_id = await self.submit(name, f"{case} {self.watch.planted}")
        await self.read_stream(run_id)
        return await self.visitor.ended(run_id)

    async def submit(self, name: str, case: str) -> str:
        return await self.visitor.submit(name, None, stream=True, case=case, **self.inputs)

    async def read_stream(self, run_id: str) -> None:
        async with self.visitor.stream(run_id) as events, asyncio.timeout(WITHIN_S):
            async for event in events:
                self.watch.look(f"stream {event.event}", event.data)


@asynccontextmanager
async def stage_on(system: System, watch: Watch) -> AsyncIterator[Stage]:
    """Whatever it answers is looked at."""
    echo = Echo({})
    token, certificate = canary(), f'{canary()}: "ä\\é", +/&=\nsecond line of {canary()}'
    sent = {name: canary() for name in ("authorization", "cookie", "x-custom")}
    sent["number"] = str(secrets.randbelow(10**24) + 10**24)
    watch.canaries |= {"token": token, "certificate": certificate, **sent}
    watch.canaries["first line"] = certificate.partition(":")[0]
    watch.canaries["last word"] = certificate.rpartition(" ")[2]
    inputs = {"token": token, "certificate": certificate}
    async with (
        openai_server(echo.reply, host=system.model_host) as model,
        visitor_of(system.url, system.key, model_host=system.model_host) as visitor,
        _dashboard(system) as dashboard,
    ):
        for client in (visitor.http, dashboard):
            client.event_hooks["response"].append(_reader(watch))
        yield Stage(system, visitor, dashboard, model, echo, watch, inputs)


@asynccontextmanager
async def _dashboard(system: System) -> AsyncIterator[httpx.AsyncClient]:
    url = system.dashboard_url
    async with httpx.AsyncClient(base_url=url, headers={"origin": url}, timeout=WITHIN_S) as client:
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


async def run_story(stage: Stage) -> list[str]:
    """Makes runs of every kind, and wrong requests. Returns the ids of the runs."""
    runs: list[str] = []
    texts = ""
    for provider, key in KEYS.items():
        document = DOCUMENT.replace("PROVIDER", provider).replace("BASE", stage.model.url).replace("KEY", key)
        texts, numbers = (f"{kind}-{provider}-{stage.watch.planted}" for kind in ("texts", "numbers"))
        for name, output in ((texts, "said"), (numbers, "number")):
            await stage.visitor.apply(name, document.replace("NAME", name).replace("OUTPUT", output))
        stage.echo.times.clear()
        runs += await _run_all(stage, texts, numbers)
    await _send_wrong_requests(stage, texts)
    await _by_hand(stage, texts, runs[-1])
    await _read_all(stage, runs)
    _assert_the_model_received(stage)
    return runs


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
    await eventually(lambda: "hang" in stage.echo.times, WITHIN_S)
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


async def _send_wrong_requests(stage: Stage, name: str) -> None:
    """What is refused, and what is sent with it."""
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


async def _read_all(stage: Stage, runs: list[str]) -> None:
    for run_id in runs:
        for part in ("", "/events", "/steps", "/calls", "/profile"):
            await stage.visitor.get(f"/v1/runs/{run_id}{part}")
        await stage.dashboard.get(f"/runs/{run_id}")
    for path in ("/v1/runs", "/v1/costs", "/v1/status", "/v1/workflows"):
        await stage.visitor.get(path)


def _assert_the_model_received(stage: Stage) -> None:
    """Else there was nothing to look for. Directly, and through LiteLLM, which alone has to be prepared."""
    canaries = stage.watch.canaries
    keys = {f"Bearer {canaries[name]}" for name in KEYS.values()}
    assert {request.headers["authorization"] for request in stage.model.requests} == keys
    assert any("provider prepared" in line for _, line in stage.system.log_lines())
    for request in stage.model.requests:
        assert request.headers["x-tenant"] == f"tenant {canaries['CANARY_HEADER_TOKEN']}"
        assert request.headers["x-signed"] == canaries["file"]
        assert request.body["messages"][0]["content"] == f"You know {stage.inputs['certificate']}."
