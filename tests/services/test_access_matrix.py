"""Every route of every service and every kind of caller. The routes are those of the applications themselves.

A route that isn't in the tables below fails the first test: whoever adds one says here who may use it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from flowyard.access import KEY_RANDOM, Caller, Scope, new_key
from flowyard.export.addresses import OtelSettings
from flowyard.storage.database import Database
from flowyard.storage.keys import KeyInfo, Keys, Sessions
from flowyard.storage.runs import Runs
from flowyard.storage.workflows import Workflows
from flowyard.web.pages.entrance import COOKIE
from flowyard_dashboard.app import dashboard_app
from flowyard_dashboard.main import _parts as dashboard_parts
from flowyard_dashboard.settings import DashboardSettings
from flowyard_executor.main import _open_parts as executor_parts
from flowyard_executor.main import executor_app
from flowyard_executor.settings import ExecutorSettings
from flowyard_gateway.app import gateway_app
from flowyard_gateway.main import _parts as gateway_parts
from flowyard_gateway.settings import GatewaySettings
from flowyard_registry.app import registry_app
from flowyard_registry.main import _parts as registry_parts
from flowyard_registry.settings import RegistrySettings
from support import stories
from support.access_rules import TABLES
from support.queued import apply, new_run

pytestmark = pytest.mark.timeout(240)

Reach: TypeAlias = Literal["workflow", "run", "own", "nothing", "installation"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "run", "write", "admin")
ALLOWED: Final[Mapping[Scope, frozenset[str]]] = {
    "read": frozenset({"read"}),
    "run": frozenset({"run", "read"}),
    "write": frozenset({"write", "read"}),
    "admin": frozenset({"admin", "write", "run", "read"}),
}
OWN, OTHER, ABSENT = "own", "zebras", "absent"
DOCUMENT = stories.POEM.replace("MODEL", "{provider: scripted}")
WITH_KEY: Final = ("/metrics", "/openapi.json")
"""Of the dashboard: paths for machines. All others need a session."""


@dataclass(frozen=True)
class Rule:
    method: str
    path: str
    scope: str
    reach: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def is_page(self, service: str) -> bool:
        """Whether it needs a session instead of a key."""
        of_gateway = self.path == "/chat" or self.path.startswith("/chat/")
        return of_gateway or (service == "dashboard" and self.path not in WITH_KEY)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(self.problem.get("code", ""))

    @property
    def problem(self) -> Mapping[str, Any]:
        """As most routes have it, or in OpenAI's form."""
        if self.headers.get("content-type") == "application/problem+json":
            return dict(json.loads(self.body))
        is_json = self.headers.get("content-type") == "application/json" and self.status >= 400
        return dict(json.loads(self.body).get("error", {})) if is_json else {}

    @property
    def is_refusal(self) -> bool:
        """Of somebody whom the service doesn't know."""
        return self.status == 401 or (
            self.status == 303 and self.headers["location"].startswith(("/login", "/chat/login"))
        )


@dataclass
class House:
    """All services in this process, on one database."""

    database: Database
    apps: Mapping[str, FastAPI]
    numbers: Iterator[int]

    @property
    def keys(self) -> Keys:
        return Keys(self.database)

    async def run_of(self, workflow: str) -> str:
        run = new_run(await Workflows(self.database).head(workflow))
        await Runs(self.database).add_current(run)
        return str(run.id)

    async def send(self, service: str, rule: Rule, path: str, headers: Mapping[str, str]) -> Answer:
        """The answer, of a stream only its beginning. Each request comes from an address of its own."""
        number = next(self.numbers)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        has_form = service == "dashboard" or rule.is_page(service)
        content = b"" if has_form else b"{}"
        kind = "application/x-www-form-urlencoded" if has_form else "application/json"
        ours = {"sec-fetch-site": "same-origin", "content-type": kind, "content-length": str(len(content))}
        scope = {
            "type": "http", "http_version": "1.1", "method": rule.method, "scheme": "http", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": ("127.0.0.1", 1),
            "client": (address, 1), "headers": [(n.encode(), v.encode()) for n, v in {**ours, **headers}.items()],
        }  # fmt: skip
        return await _answer(self.apps[service], scope, content)


async def _answer(app: FastAPI, scope: dict[str, Any], content: bytes) -> Answer:
    started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    body, sent = bytearray(), False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.set_result(message)
        body.extend(message.get("body", b""))

    handling = asyncio.create_task(app(scope, receive, send))
    handling.add_done_callback(lambda done: _fail(started, done))
    async with asyncio.timeout(30):
        start = await started
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        if headers.get("content-type", "").startswith("text/event-stream"):
            handling.cancel()
        with suppress(asyncio.CancelledError):
            await handling
    return Answer(start["status"], headers, bytes(body))


def _fail(started: asyncio.Future[dict[str, Any]], handling: asyncio.Task[None]) -> None:
    """Of a handler that ends without a response."""
    if not started.done():
        started.set_exception(handling.exception() or AssertionError("no response"))


@pytest.fixture
async def house(database: Database, database_url: str, nats_url: str) -> AsyncIterator[House]:
    for name in (OWN, OTHER):
        await apply(database, DOCUMENT.replace("name: poem", f"name: {name}"))
    ending = asyncio.Event()
    urls = {"database_url": database_url, "nats_url": nats_url, "port": 0}
    async with AsyncExitStack() as opened:
        registry = registry_app(
            await opened.enter_async_context(
                registry_parts(RegistrySettings.model_validate(urls), OtelSettings(sdk_disabled="true"), ending)
            )
        )
        parts = await opened.enter_async_context(gateway_parts(GatewaySettings.model_validate(urls), ending))
        behind = httpx.AsyncClient(transport=httpx.ASGITransport(registry), base_url="http://registry")
        await opened.enter_async_context(behind)
        gateway = gateway_app(replace(parts, registry=behind))
        pages = await opened.enter_async_context(dashboard_parts(DashboardSettings.model_validate(urls), ending))
        await opened.enter_async_context(pages.live.running(ending))
        await opened.enter_async_context(pages.run_changes.running(ending))
        dashboard = dashboard_app(pages)
        executor = executor_app(
            await opened.enter_async_context(executor_parts(ExecutorSettings.model_validate(urls), ending))
        )
        apps = {"gateway": gateway, "registry": registry, "executor": executor, "dashboard": dashboard}
        yield House(database, apps, itertools.count(1))
        ending.set()


def rules_of(service: str) -> list[Rule]:
    return [Rule(*line.split()) for line in TABLES[service].strip().splitlines() if line]


def filled(rule: Rule, *, workflow: str, run_id: str) -> str:
    # The trigger of another workflow may have the name of one's own.
    values = {
        "name": OWN if "{workflow}" in rule.path else workflow, "workflow": workflow, "run_id": run_id, "number": "1",
        "agent_id": "a", "key_id": "aaaaaaaa", "delivery_id": str(uuid4()), "seq": "1", "digest": "d", "path:path": "p",
        "notification": "a", "receiver": "a", "model": workflow, "session": str(uuid4()), "form": "md",
    }  # fmt: skip
    path = rule.path
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path


@pytest.mark.parametrize("service", TABLES)
async def test_every_route_has_a_rule_and_every_rule_a_route(house: House, service: str) -> None:
    routes = {
        f"{method} {route.path}"
        for route in iter_route_contexts(house.apps[service].routes)
        for method in (route.methods or ())
        if method != "HEAD"
    }
    assert routes == {str(rule) for rule in rules_of(service)}


@dataclass(frozen=True)
class Bad:
    """Somebody whom nobody knows, or no more. `code`: of the problem."""

    name: str
    headers: Mapping[str, str]
    code: str = "unauthorized"


async def strangers(house: House, rule: Rule, service: str) -> Sequence[Bad]:
    """New ones each time: many wrong keys with one id would be slowed down."""
    with_key = not rule.is_page(service)
    everything: frozenset[Scope] = frozenset(SCOPES)
    past = datetime.now(UTC) - timedelta(seconds=1)
    (info, text), (gone, of_gone), (rotated, replaced), (_, late) = [
        await house.keys.create("x", everything, expires_at=end) for end in (None, None, None, past)
    ]
    if with_key:
        await house.keys.revoke(gone.id)
        await house.keys.rotate(rotated.id, overlap_s=0)
        return [
            Bad("no key", {}),
            Bad("no bearer", {"authorization": f"Basic {text}"}),
            Bad("a session instead", {"cookie": f"{COOKIE}={await session(house, info)}"})
            if service != "dashboard"
            else Bad("an empty key", {"authorization": "Bearer "}),
            Bad("nonsense", {"authorization": "Bearer fy_stranger"}),
            Bad("no such key", {"authorization": f"Bearer {new_key(secrets.token_bytes(KEY_RANDOM)).text}"}),
            Bad("another secret", {"authorization": f"Bearer fy_{info.id}_{'a' * 40}"}),
            Bad("revoked", {"authorization": f"Bearer {of_gone}"}),
            Bad("replaced", {"authorization": f"Bearer {replaced}"}),
            Bad("expired", {"authorization": f"Bearer {late}"}, "key_expired"),
        ]
    tokens = {each.id: await session(house, each) for each in (gone, rotated)}
    await house.keys.revoke(gone.id)
    await house.keys.rotate(rotated.id, overlap_s=0)
    return [
        Bad("no session", {}),
        Bad("a key instead", {"authorization": f"Bearer {text}"}),
        Bad("no such session", {"cookie": f"{COOKIE}={secrets.token_urlsafe(32)}"}),
        Bad("of a revoked key", {"cookie": f"{COOKIE}={tokens[gone.id]}"}),
        Bad("of a replaced secret", {"cookie": f"{COOKIE}={tokens[rotated.id]}"}),
        Bad("expired", {"cookie": f"{COOKIE}={await session(house, info, until=past)}"}),
    ]


async def session(house: House, info: KeyInfo, *, until: datetime | None = None) -> str:
    caller = Caller(info.id, info.name, info.scopes, until=until)
    return await Sessions(house.database).open(caller, 60)


async def headers_of(house: House, service: str, rule: Rule, info: KeyInfo, text: str) -> Mapping[str, str]:
    if rule.is_page(service):
        return {"cookie": f"{COOKIE}={await session(house, info)}"}
    return {"authorization": f"Bearer {text}"}


@pytest.mark.parametrize("service", TABLES)
async def test_nobody_without_a_valid_key_gets_in_anywhere(house: House, service: str) -> None:
    for rule in rules_of(service):
        path = filled(rule, workflow=OWN, run_id=str(uuid4()))
        for bad in await strangers(house, rule, service):
            answer = await house.send(service, rule, path, bad.headers)
            if rule.scope == "open":
                assert not answer.is_refusal or rule.path.endswith("/login"), (rule, bad.name)
                continue
            assert answer.is_refusal, (rule, bad.name, answer)
            if service != "dashboard" and not rule.is_page(service):
                assert answer.code == bad.code, (rule, bad.name)


@pytest.mark.parametrize("service", TABLES)
async def test_a_key_may_do_what_its_scope_allows_and_nothing_else(house: House, service: str) -> None:
    keys = {scope: await house.keys.create(scope, frozenset({scope})) for scope in SCOPES}
    for rule, (scope, (info, text)) in itertools.product(rules_of(service), keys.items()):
        path = filled(rule, workflow=ABSENT, run_id=str(uuid4()))
        answer = await house.send(service, rule, path, await headers_of(house, service, rule, info, text))
        is_allowed = rule.scope == "open" or rule.scope in ALLOWED[scope]
        if rule.path.endswith("/login"):
            continue
        assert (answer.status != 403) == is_allowed, (rule, scope, answer)
        assert answer.status != 401, (rule, scope)
        assert answer.status < 500, (rule, scope, answer)
        if not is_allowed and service != "dashboard" and not rule.is_page(service):
            assert (answer.code, answer.problem["needed_scope"]) == ("forbidden", rule.scope)


@pytest.mark.parametrize("service", TABLES)
async def test_a_key_for_one_workflow_reaches_nothing_of_another(house: House, service: str) -> None:
    scopes: frozenset[Scope] = frozenset({"run", "write"})
    info, text = await house.keys.create("some", scopes, workflows=frozenset({OWN}))
    foreign = await house.run_of(OTHER)
    for rule in rules_of(service):
        if rule.scope in ("open", "admin"):
            continue
        own, headers = await house.run_of(OWN), await headers_of(house, service, rule, info, text)
        answer = await house.send(service, rule, filled(rule, workflow=OWN, run_id=own), headers)
        is_about_all = rule.reach == "installation"
        assert (answer.status == 403) == is_about_all, (rule, answer)
        assert answer.code not in ("unknown_run", "unknown_workflow"), (rule, answer)
        assert foreign.encode() not in answer.body, rule
        assert OTHER.encode() not in answer.body, rule
        if is_about_all and service != "dashboard":
            assert answer.code == "not_for_key", rule
        answers = [
            await house.send(service, rule, filled(rule, workflow=name, run_id=run_id), headers)
            for name, run_id in ((OTHER, foreign), (ABSENT, str(uuid4())))
        ]
        # Whether there is such a thing makes no difference.
        assert answers[0].status == answers[1].status, (rule, answers)
        if rule.reach == "workflow":
            assert answers[0].status == 403, (rule, answers[0])
        if rule.reach == "run":
            assert answers[0].status == 404, (rule, answers[0])
            assert service == "dashboard" or answers[0].code == "unknown_run", rule
    assert (await Runs(house.database).get(UUID(foreign))).status == "queued"
