"""All services at work on what is as large or as deep as it may be: none needs much memory, or holds its event loop."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from abuse.conftest import Starting
from abuse.test_documents import ALIASES, HEAD, LONG, branches, nested_loops, own_fields
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from support.campaigns import Campaign, Campaigns
from support.exporting import listening
from support.otlp import Receiver, otlp_receiver
from support.waiting import eventually
from support.wire.behaviour import Text
from support.wire.openai import openai_server

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(180)]

SECRET_KEY: Final = base64.b64encode(b"k" * 32).decode()
REPLY: Final = json.dumps([{"n": number, "text": "word " * 8} for number in range(50_000)])
"""3 MB."""
LARGE: Final = """\
flow: {name: large}
state:
  fields:
    key: {type: str, required: true, secret: true}
    t: {type: str, required: true}
    xs: {type: list, required: true}
    answer: list
    a: str
    b: str
    c: str
    n: int
nodes:
  - {id: ask, prompt: 'Say {t} with {key}', outputs: [answer]}
  - {id: wide, set: {a: 'TEXT'}}
  - {id: wider, set: {b: 'TEXT'}}
  - {id: widest, set: {c: 'TEXT', n: {expr: 'len(xs) + len(answer)'}}}
config:
  llm: MODEL
""".replace("TEXT", "{t}" * 20)
"""Its state has 28 MB in the end."""
INPUTS: Final[dict[str, dict[str, Any]]] = {
    "numbers": {"t": "word " * 78_000, "xs": list(range(80_000))},
    "objects and percent signs": {"t": "w%41rd " * 55_000, "xs": [{"a": {}}] * 40_000},
    "texts": {"t": "é" * 60_000, "xs": ["a"] * 100_000},
}
VIEWS: Final = ("", "events", "steps", "outputs?name=c", "outputs?node=ask", "calls", "profile")
PAGES: Final = ("/runs/{}", "/runs/{}?fork=ask", "/runs/{}/outputs?name=c", "/runs", "/workflows", "/workflows/large")
BRANCHES: Final = 480
DEEP: Final = b'{"inputs": {"key": "s", "t": "a", "xs": ' + b"[" * 110 + b"1," * 400_000 + b"1" + b"]" * 110 + b"}}"
REQUESTS: Final = {
    "many unknown inputs": json.dumps({"inputs": {f"k{number}": 1 for number in range(40_000)}}).encode(),
    "a deep value": DEEP,
    "a body of nothing but brackets": b"[" * 2_000_000,
    "many objects": b'{"inputs": {"xs": [' + b"{}," * 600_000 + b"{}]}}",
}
DOCUMENTS: Final = {
    "a default of aliases": f"{HEAD}tests:\n  - {{name: a, inputs: {{t: [&x '{LONG}', {ALIASES}]}}}}\n",
    "many nodes of one name": HEAD + "nodes:\n" + "  - {id: a, prompt: x}\n" * 15_000,
    "many nodes with fields": own_fields(960),
}


@dataclass(frozen=True)
class Stack:
    """`api`: a client of the gateway; `pages`: one of the dashboard, logged in; `receiver`: of exported runs."""

    api: httpx.AsyncClient
    pages: httpx.AsyncClient
    receiver: Receiver

    async def apply(self, name: str, document: str) -> None:
        applied = await self.api.put(f"/v1/workflows/{name}", content=document)
        assert applied.is_success, applied.text

    async def submit(self, workflow: str, **inputs: Any) -> str:
        """The run's id."""
        submitted = await self.api.post(f"/v1/workflows/{workflow}/runs", json={"inputs": inputs})
        assert submitted.is_success, submitted.text
        run_id: str = submitted.json()["id"]
        return run_id

    async def ended(self, run_id: str) -> dict[str, Any]:
        # In a list, which leaves out what is large: to be asked for that again and again is no limit of a service.
        async def look() -> bool:
            listed = (await self.api.get("/v1/runs")).json()["items"]
            return any(run["finished_at"] for run in listed if run["id"] == run_id)

        await eventually(look, 90, pause_s=0.2)
        ended: dict[str, Any] = (await self.api.get(f"/v1/runs/{run_id}")).json()
        return ended


@pytest.fixture
async def stack(database: Database, starting: Starting) -> AsyncIterator[Stack]:
    key = (await Keys(database).create("all", frozenset({"admin"})))[1]
    await listening(database, "otlp")
    async with AsyncExitStack() as opened:
        receiver = await opened.enter_async_context(otlp_receiver())
        urls: dict[str, str] = {}
        for name in ("registry", "executor", "dashboard", "gateway"):
            environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
            own = {"registry_url": urls["registry"]} if name == "gateway" else {}
            service = starting(name, environ=environ, secret_key=SECRET_KEY, **own)
            urls[name] = (await opened.enter_async_context(service)).url
        authorization = {"authorization": f"Bearer {key}"}
        api = httpx.AsyncClient(base_url=urls["gateway"], headers=authorization, timeout=60)
        pages = httpx.AsyncClient(base_url=urls["dashboard"], headers={"origin": urls["dashboard"]}, timeout=60)
        await opened.enter_async_context(api)
        await opened.enter_async_context(pages)
        await pages.post("/login", data={"key": key})
        yield Stack(api, pages, receiver)


async def test_what_is_at_its_limits_leaves_all_services_within_theirs(stack: Stack, campaign: Campaigns) -> None:
    await large_runs(stack, campaign("large runs"))
    await large_workflows(stack, campaign("large workflows"))
    await odd_requests(stack, campaign("large requests"))


async def large_runs(stack: Stack, campaign: Campaign) -> None:
    async with openai_server(lambda _: Text(REPLY)) as model:
        settings = f"{{provider: hosted_vllm, model: m, api_base: '{model.url}'}}"
        await stack.apply("large", LARGE.replace("MODEL", settings))
        run_id = ""
        for what, inputs in INPUTS.items():
            with campaign.attempt(what):
                run_id = await stack.submit("large", key="s3cr3t", **inputs)
                assert (await stack.ended(run_id))["status"] == "succeeded"
        with campaign.attempt("a fork and its preview"):
            preview = await stack.api.post(f"/v1/runs/{run_id}/fork/preview", json={"inputs": {"xs": [1]}})
            assert preview.status_code == 200, preview.text
            forked = await stack.api.post(f"/v1/runs/{run_id}/fork", json={"from": {"node": "widest"}})
            assert (await stack.ended(forked.json()["id"]))["status"] == "succeeded"
    for view in VIEWS:
        with campaign.attempt(view):
            assert (await stack.api.get(f"/v1/runs/{run_id}/{view}".rstrip("/"))).status_code == 200
    for page in PAGES:
        with campaign.attempt(page):
            assert (await stack.pages.get(page.format(run_id))).status_code == 200
    with campaign.attempt("their export"):
        await eventually(lambda: len(stack.receiver.trace_ids) == len(INPUTS) + 1, 60)


async def large_workflows(stack: Stack, campaign: Campaign) -> None:
    for shape in (branches, nested_loops):
        name = shape.__name__.replace("_", "-")
        with campaign.attempt(name):
            for nodes in (900, 960):
                await stack.apply(name, shape(nodes).replace("name: big", f"name: {name}"))
            difference = await stack.api.get(f"/v1/workflows/{name}/diff", params={"from": 1, "to": 2})
            page = await stack.pages.get(f"/workflows/{name}")
            assert (difference.status_code, page.status_code) == (200, 200)
    with campaign.attempt("a fork into many branches"):
        await stack.apply("fork", branches(BRANCHES).replace("name: big", "name: fork"))
        assert (await stack.ended(await stack.submit("fork", t="x")))["status"] == "succeeded"


async def odd_requests(stack: Stack, campaign: Campaign) -> None:
    for what, body in REQUESTS.items():
        with campaign.attempt(what):
            headers = {"content-type": "application/json"}
            refused = await stack.api.post("/v1/workflows/large/runs", content=body, headers=headers)
            assert refused.status_code in {413, 422}, refused.text
            assert len(refused.content) < 20_000
    for what, document in DOCUMENTS.items():
        with campaign.attempt(what):
            checked = await stack.api.post("/v1/validate", content=document)
            assert checked.status_code == 200, checked.text
