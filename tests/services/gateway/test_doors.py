"""Who may come in, by which door, and what the doors say of themselves."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
from jsonschema import Draft202012Validator

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import KeyChanged
from services.gateway.conftest import Gateway, Starting
from support.campaigns import Campaigns

METHODS = ("get", "post", "put", "patch", "delete")
OPEN = ("/health", "/hooks/")
"""Senders of webhooks have no key: they prove themselves."""


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def filled(path: str) -> str:
    for name, value in {"name": "w", "run_id": str(uuid4()), "key_id": "aaaaaaaa", "number": "1"}.items():
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{agent_id}", "a").replace("{id}", "a")


async def test_every_route_but_health_and_webhooks_needs_a_key(starting: Starting) -> None:
    async with starting(trusted_proxies="127.0.0.1") as gateway, gateway.client_with(None) as nobody:
        document = (await gateway.client.get("/openapi.json")).json()
        paths = [(path, method) for path, method, _ in operations(document) if not path.startswith(OPEN)]
        for number, (path, method) in enumerate([*paths, ("/metrics", "get"), ("/openapi.json", "get")]):
            refused = await nobody.request(method, filled(path), json={})
            problem = refused.json()
            # Those for OpenAI's clients have its form of errors.
            code = problem["error"]["code"] if "error" in problem else problem["code"]
            assert (refused.status_code, code) == (401, "unauthorized"), path
            assert refused.headers["www-authenticate"].startswith("Bearer")
            # From an address of its own: many wrong keys of one address would be slowed down.
            stranger = {"authorization": "Bearer stranger", "x-forwarded-for": f"192.0.2.{number}"}
            assert (await nobody.request(method, filled(path), json={}, headers=stranger)).status_code == 401, path
        for path in ("/health/live", "/health/ready"):
            assert (await nobody.get(path)).status_code == 200


async def test_a_reader_can_look_and_not_touch(gateway: Gateway) -> None:
    run = f"/v1/runs/{uuid4()}"
    async with gateway.as_one_who_may("read") as reader:
        for path in ("/v1/runs", "/v1/status", "/metrics", "/openapi.json"):
            assert (await reader.get(path)).status_code == 200
        for path in ("/v1/workflows/w/runs", f"{run}/cancel", f"{run}/retry", f"{run}/fork", "/v1/runs/cancel"):
            refused = await reader.post(path, json={"ids": [str(uuid4())]} if path == "/v1/runs/cancel" else {})
            assert (refused.status_code, refused.json()["needed_scope"]) == (403, "run"), path
        for method in ("GET", "POST"):
            refused = await reader.request(method, "/v1/keys")
            assert (refused.status_code, refused.json()["needed_scope"]) == (403, "admin")


async def test_a_key_is_shown_once_works_and_can_be_revoked(gateway: Gateway, bus: Bus) -> None:
    changed: asyncio.Queue[str] = asyncio.Queue()

    async def receive(message: KeyChanged) -> None:
        changed.put_nowait(message.id)

    async with gateway.as_one_who_may("admin") as admin, bus.subscribe(subjects.KEYS_CHANGED, KeyChanged, receive):
        made = await admin.post("/v1/keys", json={"name": "nightly", "scopes": ["run", "read"]})
        assert (made.status_code, made.json()["scopes"]) == (201, ["read", "run"])
        key_id, key = made.json()["id"], made.json()["key"]
        listed = (await admin.get("/v1/keys")).text
        assert key_id in listed
        assert key not in listed
        async with gateway.client_with(f"Bearer {key}") as client:
            assert (await client.get("/v1/runs")).status_code == 200
            revoked = await admin.delete(f"/v1/keys/{key_id}")
            assert revoked.json()["revoked_at"] is not None
            assert (await client.get("/v1/runs")).status_code == 401
        assert (await admin.delete("/v1/keys/aaaaaaaa")).status_code == 404
        async with asyncio.timeout(2):
            assert await changed.get() == key_id


async def test_no_key_is_made_of_nonsense(gateway: Gateway) -> None:
    bodies: list[dict[str, Any]] = [
        {"name": "", "scopes": ["run"]},
        {"name": "a\x00", "scopes": ["run"]},
        {"name": "\ud800", "scopes": ["run"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": ["run"], "scope": "admin"},
    ]
    async with gateway.as_one_who_may("admin") as admin:
        for body in bodies:
            # As text in ASCII: httpx can't send half a surrogate pair.
            sent = await admin.post("/v1/keys", content=json.dumps(body), headers={"content-type": "application/json"})
            assert sent.status_code == 422, body


async def test_the_openapi_document_keeps_its_promises(gateway: Gateway) -> None:
    document = (await gateway.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    described = operations(document)
    names = [operation["operationId"] for _, _, operation in described]
    assert sorted(set(names)) == sorted(names)
    for path, method, operation in described:
        assert operation["summary"], (path, method)
        if path.startswith("/v1/"):
            assert {"401", "403", "503"} <= operation["responses"].keys(), (path, method)
            assert operation["security"], (path, method)
    for path in ("/v1/workflows/{name}", "/v1/agents", "/v1/workflows/{name}/runs", "/v1/runs/{run_id}/events"):
        assert path in document["paths"]

    _check_references(document)


def _check_references(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def check(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                assert part["$ref"].removeprefix("#/components/schemas/") in schemas
            for inner in part.values():
                check(inner)
        elif isinstance(part, list):
            for inner in part:
                check(inner)

    check(document)


async def test_examples_of_the_openapi_document_fit_their_schemas(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    whole = {"components": document["components"]}
    checked = 0
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", **whole})
            assert not list(validator.iter_errors(example)), name
            checked += 1
    assert checked > 8


async def test_the_status_shows_what_waits_and_who_works(gateway: Gateway, poem: str) -> None:
    await gateway.client.post(f"/v1/workflows/{poem}/runs", json={"inputs": {"topic": "rain"}})
    status = (await gateway.client.get("/v1/status")).json()
    assert (status["queue"]["queued"], status["queue"]["running"], status["queue"]["orphaned"]) == (1, 0, 0)
    assert status["nats_connected"] is True
    assert status["executors"] == []


async def test_submits_are_counted(gateway: Gateway, poem: str) -> None:
    await gateway.client.post(f"/v1/workflows/{poem}/runs", json={"inputs": {"topic": "rain"}})
    page = (await gateway.client.get("/metrics")).text
    assert 'flowyard_runs_submitted_total{workflow="poem"} 1.0' in page
    assert 'route="/v1/workflows/{name}/runs"' in page


BODIES = {
    "a key that is there twice": rb'{"a": 1, "a": 1}',
    "U+0000": rb'{"a": "\u0000"}',
    "U+0000 in a key": rb'{"a": {"\u0000": 1}}',
    "half of a surrogate pair": rb'{"a": "\ud83d"}',
    "half of a surrogate pair in a key": rb'{"a": {"\ude00": 1}}',
}


async def test_every_route_refuses_json_that_cant_be_stored_as_it_is(gateway: Gateway, campaign: Campaigns) -> None:
    document = (await gateway.client.get("/openapi.json")).json()
    own = [
        (path, method)
        for path, method, operation in operations(document)
        if "application/json" in operation.get("requestBody", {}).get("content", {})
        and operation["tags"] in (["runs"], ["keys"])
    ]
    assert len(own) >= 4
    for path, method in own:
        for what, body in BODIES.items():
            with campaign("surrogates, NUL and keys that are there twice").attempt(f"{method} {path}: {what}"):
                refused = await gateway.client.request(
                    method, filled(path), content=body, headers={"content-type": "application/json"}
                )
                assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
                assert refused.json()["problems"][0]["where"] == "body"
