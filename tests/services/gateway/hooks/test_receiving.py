"""Webhooks over HTTP: who may start runs, and what becomes of each request."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowyard.storage.database import Database
from flowyard.storage.workflows import Workflows
from services.gateway.conftest import Starting
from support.hook_records import code_of, deliveries, runs_of
from support.hook_senders import HEAD, MESSAGE, at, changed, document, send, signed
from support.hooks import OF_BODY, PARTIES, TIMED, with_header, without
from support.queued import apply

EACH_PARTY = pytest.mark.parametrize("name", PARTIES)
UNSIGNED = {"idempotency-key", "x-github-delivery", "content-type", "webhook-id"}
ACCEPTED = {"slack": (200, b""), "twilio": (200, b"<Response/>"), "discord": (200, b'{"type": 5}')}
PLAIN = "generic"
MORE_THAN_CONNECTIONS = 25
"""The gateway has 20 to Postgres, where copies meet. Senders differ only in the id of what they send."""
OPEN = HEAD + "  open:\n    webhook: {path: open, auth: none}\n    inputs: {topic: '{payload.a}'}\n"


@EACH_PARTY
async def test_a_signed_webhook_starts_a_run_with_its_payload(
    client: httpx.AsyncClient, database: Database, name: str
) -> None:
    response = await send(client, signed(name, at(client, name)))
    status, body = ACCEPTED.get(name, (202, None))
    assert response.status_code == status
    if body is not None:
        assert response.content == body
    [delivery] = await deliveries(database)
    assert (delivery["outcome"], delivery["status"], delivery["trigger"]) == ("started", status, name)
    run = (await client.get(f"/v1/runs/{delivery['run_id']}")).json()
    assert run["workflow"] == "hooked"
    assert run["inputs"]["topic"] == delivery["payload"]
    if name not in ACCEPTED:
        assert response.json() == {
            "delivery": str(delivery["id"]), "outcome": "started", "run_id": run["id"],
            "status": None, "outputs": None, "large_outputs": None, "error": None,
        }  # fmt: skip
        assert response.headers["location"] == f"/v1/runs/{run['id']}"


@EACH_PARTY
async def test_what_is_not_signed_is_401_and_nothing_happens(
    client: httpx.AsyncClient, database: Database, name: str
) -> None:
    request = signed(name, at(client, name))
    proofs = [(key, value) for key, value in request.headers if key.lower() not in UNSIGNED]
    assert proofs
    refused = []
    for key, value in proofs:
        refused += [
            without(request, key),
            with_header(request, key, ""),
            request.with_headers((key, value)),
            request.with_headers((key.title(), "other")),
            with_header(request, key, "x"),
            with_header(request, key, "é"),
            with_header(request, key, value[:-1] + ("0" if value[-1] != "0" else "1")),
            with_header(request, key, f"{value},{value}"),
        ]
    if name in OF_BODY:
        refused += [changed(request, body=request.body + b" "), changed(request, body=b"")]
    answers = {code_of(await send(client, each)) for each in refused}
    assert answers == {(401, "unverified")}
    stored = await deliveries(database)
    assert {each["outcome"] for each in stored} == {"unverified"}
    assert {each["payload"] for each in stored} == {None}
    assert len(stored) == min(len(refused), 60)
    assert all(each["reason"] for each in stored)
    assert await runs_of(database) == 0


@pytest.mark.parametrize("name", TIMED)
async def test_an_old_request_is_refused_although_its_sender_has_signed_it(
    client: httpx.AsyncClient, database: Database, name: str
) -> None:
    for minutes, reason in ((-6, "too_old"), (6, "too_new")):
        now = datetime.now(UTC) + timedelta(minutes=minutes)
        assert code_of(await send(client, signed(name, at(client, name), now=now))) == (401, "unverified")
        assert (await deliveries(database))[-1]["reason"] == reason


@EACH_PARTY
async def test_copies_at_once_make_one_run(client: httpx.AsyncClient, database: Database, name: str) -> None:
    request, copies = signed(name, at(client, name)), 200 if name == PLAIN else MORE_THAN_CONNECTIONS
    responses = await asyncio.gather(*(send(client, request) for _ in range(copies)))
    assert {response.status_code for response in responses} <= {200, 202}
    assert await runs_of(database) == 1
    stored = await deliveries(database)
    assert sorted(each["outcome"] for each in stored) == ["repeated"] * (copies - 1) + ["started"]
    assert len({each["run_id"] for each in stored}) == 1
    if name not in ACCEPTED:
        assert sum(response.status_code == 202 for response in responses) == 1


async def test_the_senders_own_id_decides_what_is_a_copy(client: httpx.AsyncClient, database: Database) -> None:
    for event in ("evt_1", "evt_2", "evt_1"):
        await send(client, signed("stripe", at(client, "stripe"), {"id": event}))
    stored = await deliveries(database)
    assert [(each["outcome"], each["sender_id"]) for each in stored] == [
        ("started", "evt_1"), ("started", "evt_2"), ("repeated", "evt_1"),
    ]  # fmt: skip


async def test_without_an_id_the_body_decides(client: httpx.AsyncClient, database: Database) -> None:
    for body in ("{}", '{"a": 1}', "{}"):
        await send(client, signed("stripe", at(client, "stripe"), body))
    assert [each["outcome"] for each in await deliveries(database)] == ["started", "started", "repeated"]
    assert await runs_of(database) == 2


async def test_one_id_at_two_webhooks_is_no_copy(client: httpx.AsyncClient, database: Database) -> None:
    for name in ("stripe", "standard"):
        await send(client, signed(name, at(client, name), {"id": "msg_1"}))
    assert await runs_of(database) == 2


async def test_each_message_of_whatsapp_is_a_delivery(client: httpx.AsyncClient, database: Database) -> None:
    two = json.loads(json.dumps(MESSAGE))
    two["entry"][0]["changes"][0]["value"]["messages"].append({"id": "wamid.B", "from": "4"})
    await send(client, signed("whatsapp", at(client, "whatsapp"), MESSAGE))
    response = await send(client, signed("whatsapp", at(client, "whatsapp"), two))
    assert response.status_code == 202
    assert [each["outcome"] for each in response.json()["deliveries"]] == ["repeated", "started"]
    assert await runs_of(database) == 2


async def test_meta_may_look_who_is_there_with_the_token_alone(client: httpx.AsyncClient, database: Database) -> None:
    query = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    url = at(client, "whatsapp")
    response = await send(client, changed(signed("whatsapp", url + query + "v3rify-me"), method="GET", body=b""))
    assert (response.status_code, response.text) == (200, "1158201444")
    wrong = await send(client, changed(signed("whatsapp", url + query + "other"), method="GET", body=b""))
    assert code_of(wrong) == (401, "unverified")
    stored = await deliveries(database)
    assert [(each["outcome"], each["status"]) for each in stored] == [("answered", 200), ("unverified", 401)]
    assert "v3rify-me" not in str(stored)
    other = await send(client, changed(signed("github", at(client, "github")), method="GET", body=b""))
    assert (*code_of(other), other.headers["allow"]) == (405, "method_not_allowed", "POST")


@pytest.mark.parametrize(
    ("name", "body", "headers", "expected"),
    [
        ("github", {"zen": "x"}, {"x-github-event": "ping"}, (204, b"")),
        ("slack", {"type": "url_verification", "challenge": "c"}, {}, (200, b'{"challenge": "c"}')),
        ("discord", {"type": 1}, {}, (200, b'{"type": 1}')),
    ],
)
async def test_who_only_looks_who_is_there_is_answered_and_starts_nothing(
    client: httpx.AsyncClient, database: Database, name: str, body: Any, headers: dict[str, str], expected: Any
) -> None:
    response = await send(client, signed(name, at(client, name), body, headers=headers))
    assert (response.status_code, response.content) == expected
    assert [each["outcome"] for each in await deliveries(database)] == ["answered"]
    assert await runs_of(database) == 0


async def test_no_path_of_a_workflow_is_404_and_needs_no_key(client: httpx.AsyncClient, database: Database) -> None:
    for path in ("none", "in/none", "", "in/generic/", "..", "a%00b", "%ff", "x" * 3000):
        async with httpx.AsyncClient(base_url=client.base_url) as stranger:
            assert code_of(await stranger.post(f"/hooks/{path}", content=b"{}")) in (
                (404, "unknown_hook"),
                (401, "unauthorized"),
                (404, "no_such_route"),
            )
    assert await deliveries(database) == []


async def test_a_trigger_is_live_when_apply_returns_and_gone_with_its_revision(
    client: httpx.AsyncClient, database: Database
) -> None:
    url = at(client, "generic").replace("in/generic", "open")
    assert (await client.post(url, json={"a": 1})).status_code == 404
    for round_ in range(5):
        await apply(database, OPEN.replace("payload.a", f"payload.a{round_}"))
        response = await client.post(url, json={f"a{round_}": round_})
        assert response.status_code == 202, response.text
        run = (await client.get(f"/v1/runs/{response.json()['run_id']}")).json()
        assert (run["inputs"], run["revision"]) == ({"topic": round_}, 2 * round_ + 2)
        await apply(database, document(wait=f"{round_ + 1}s"))
        assert (await client.post(url, json={f"a{round_}": round_})).status_code == 404
    await Workflows(database).delete("hooked", force=True)
    assert (await client.post(at(client, "generic"), json={})).status_code == 404


async def test_a_new_secret_of_a_document_counts_at_once(client: httpx.AsyncClient, database: Database) -> None:
    request = signed(PLAIN, at(client, PLAIN), {"n": 1})
    assert (await send(client, request)).status_code == 202
    await apply(database, document().replace("GENERIC_WEBHOOK_SECRET", "STRIPE_WEBHOOK_SECRET"))
    assert code_of(await send(client, signed(PLAIN, at(client, PLAIN), {"n": 2}))) == (401, "unverified")
    await apply(database, document())
    assert (await send(client, signed(PLAIN, at(client, PLAIN), {"n": 3}))).status_code == 202


async def test_a_file_with_the_secret_may_change_while_the_gateway_runs(
    starting: Starting, database: Database, tmp_path: Path
) -> None:
    await apply(database, document().replace("${env:GITHUB_WEBHOOK_SECRET}", "${file:github}"))
    async with starting(referenced_files=str(tmp_path)) as gateway:
        client = gateway.client
        request = signed("github", at(client, "github"))
        missing = await send(client, request)
        assert (*code_of(missing), missing.headers["retry-after"]) == (503, "hook_not_ready", "60")
        assert "github" not in missing.json()["detail"]
        [refused] = await deliveries(database)
        assert refused["outcome"] == "refused"
        assert refused["reason"].startswith("it needs the file github in the folder that FLOWYARD_REFERENCED_FILES")
        assert refused["reason"].endswith(", which is missing, empty, or not readable for this service")
        (tmp_path / "github").write_text("s3cret\n")
        assert (await send(client, request)).status_code == 202
        (tmp_path / "github").write_text("other\n")
        await asyncio.sleep(1.1)
        assert code_of(await send(client, request)) == (401, "unverified")
        (tmp_path / "github").write_text("")
        await asyncio.sleep(1.1)
        assert code_of(await send(client, request)) == (503, "hook_not_ready")


async def test_no_variable_that_is_not_allowed_is_read(
    starting: Starting, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_OPENAI_API_KEY", "s3cret")
    await apply(database, document().replace("GITHUB_WEBHOOK_SECRET", "MY_OPENAI_API_KEY"))
    async with starting() as gateway:
        response = await send(gateway.client, signed("github", at(gateway.client, "github")))
        assert code_of(response) == (503, "hook_not_ready")
    async with starting(hook_variables="MY_*") as gateway:
        assert (await send(gateway.client, signed("github", at(gateway.client, "github")))).status_code == 202


async def test_an_event_that_does_not_match_starts_nothing_and_is_recorded(
    client: httpx.AsyncClient, database: Database
) -> None:
    await apply(database, OPEN + "    when: payload.a > 1\n")
    url = str(client.base_url) + "/hooks/open"
    response = await client.post(url, json={"a": 1})
    assert (response.status_code, response.json()["outcome"]) == (200, "unmatched")
    assert [each["outcome"] for each in await deliveries(database)] == ["unmatched"]
    assert (await client.post(url, json={"a": 2})).status_code == 202


@pytest.mark.parametrize(
    ("inputs", "body", "reason"),
    [
        ("{topic: '{payload.b}'}", {"a": 1}, "payload has no 'b'"),
        ("{topic: '{headers.x-none}'}".replace("headers.x-none", 'headers["x-none"]'), {}, "headers has no 'x-none'"),
        ("{topic: x}\n    when: payload.a", {"a": 1}, "'payload.a' is int, not true or false"),
    ],
)
async def test_a_mapping_that_fails_is_recorded_and_422_where_somebody_waits(
    client: httpx.AsyncClient, database: Database, inputs: str, body: Any, reason: str
) -> None:
    url, text = str(client.base_url) + "/hooks/open", OPEN.replace("{topic: '{payload.a}'}", inputs)
    await apply(database, text)
    response = await client.post(url, json=body)
    assert (response.status_code, response.json()["outcome"]) == (200, "failed")
    await apply(database, text.replace("auth: none", "auth: none, wait: 1s"))
    waited = await client.post(url, json=body)
    assert code_of(waited) == (422, "not_mapped")
    assert reason in waited.json()["detail"]
    stored = await deliveries(database)
    assert [(each["outcome"], each["status"]) for each in stored] == [("failed", 200), ("failed", 422)]
    assert all(reason in each["reason"] and each["payload"] == body for each in stored)
    assert await runs_of(database) == 0


async def test_inputs_that_do_not_fit_the_workflow_fail(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, OPEN.replace("type: any, required", "type: int, required"))
    response = await client.post(str(client.base_url) + "/hooks/open", json={"a": "\0".replace("\0", "x")})
    assert (response.status_code, response.json()["outcome"]) == (200, "failed")
    assert "topic: expected int, got str 'x'" in (await deliveries(database))[0]["reason"]


@pytest.mark.parametrize(
    "body",
    [
        "{",
        '{"a": 1, "a": 2}',
        '"\\u0000"',
        '"\\ud800"',
        "[" * 5000,
        '{"a": ["s3cret", ' + "[" * 400 + "]" * 400 + "]}",
        "nope",
        "1" * 5000,
        "NaN",
        '{"a": -Infinity}',
        "[1e999]",
    ],
)
async def test_a_body_that_its_sender_has_signed_and_nobody_can_read_is_422(
    client: httpx.AsyncClient, database: Database, body: str
) -> None:
    response = await send(client, signed(PLAIN, at(client, PLAIN), body))
    assert code_of(response) == (422, "invalid_request")
    [stored] = await deliveries(database)
    assert (stored["outcome"], stored["status"], stored["body_size"]) == ("failed", 422, len(body))
    assert stored["digest"] == hashlib.sha256(body.encode()).digest()


async def test_secrets_are_masked_in_what_is_stored(client: httpx.AsyncClient, database: Database) -> None:
    body = {"id": "evt_2", "echo": "my s3cret and more", "s3cret": ["s3cret"]}
    request = signed(
        "bearer", at(client, "bearer", "?token=s3cret"), body, headers={"cookie": "session=abc", "x-other": "s3cret"}
    )
    assert (await send(client, request)).status_code == 202
    await send(client, signed("telegram", at(client, "telegram"), {"update_id": 9, "s": "s3cret"}))
    stored = await deliveries(database)
    assert [each["outcome"] for each in stored] == ["started", "started"]
    assert "s3cret" not in str(stored)
    assert "session=abc" not in str(stored)
    assert stored[0]["payload"] == {"id": "evt_2", "echo": "my *** and more", "***": ["***"]}
    assert stored[0]["headers"]["authorization"] == "***"
    assert stored[0]["query"] == {"token": "***"}
