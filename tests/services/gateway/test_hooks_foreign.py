"""The senders' own libraries sign, and the gateway is told over HTTP: what they sign starts a run, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import pytest

from flowyard.storage.database import Database
from flowyard.webhooks.request import HookRequest
from services.gateway.conftest import Gateway, Starting
from support.foreign_signers import FOREIGN, Unsigned
from support.hook_senders import SECRETS, at, changed, document, send, with_other
from support.hooks import FORM, JSON, PARTIES, SYMMETRIC
from support.queued import apply
from unit.webhooks.test_vectors import MESSAGE_TIME, SLACK_BODY, STRIPE, V1

BODY: Final = '{"id": "evt_ä😀", "n": 1}'
FIELDS: Final = {"MessageSid": "SM1", "Body": "ä 😀 +"}


OTHERS: Final = {"standard": "whsec_b3RoZXI=", "stripe": "whsec_other", "standard-v1a": "whsk_" + "B" * 43 + "="}
GITHUB: Final = "e3eccac34c43c7dc1cbb905488b1b81347fcc700a7b025697a9d07862256023f"
SLACK: Final = "a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
TIMELESS: Final = ("twilio", "github")


@pytest.fixture
async def gateway(starting: Starting, database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    await apply(database, document())
    async with starting() as gateway:
        yield gateway


def made(
    client: httpx.AsyncClient, sender: str, *, secret: str | None = None, now: datetime | None = None
) -> HookRequest:
    name, sign = FOREIGN[sender]
    url = at(client, name, "?a=1")
    body, kind = (urlencode(FIELDS), FORM) if name == "twilio" else (BODY, JSON)
    headers = sign(Unsigned(url, body, secret or PARTIES[name].secret, now or datetime.now(UTC)))
    return HookRequest("POST", url, (("content-type", kind), *headers.items()), body.encode())


async def last(database: Database) -> dict[str, Any]:
    rows = await database.rows("SELECT outcome, reason, payload FROM deliveries ORDER BY received_at DESC LIMIT 1")
    return dict(rows[0])


@pytest.mark.parametrize("sender", FOREIGN)
async def test_what_a_library_signs_starts_a_run_and_nothing_else_does(
    client: httpx.AsyncClient, database: Database, sender: str
) -> None:
    name, _ = FOREIGN[sender]
    request = made(client, sender)
    other = OTHERS.get(name, "0" * 63 + "1" if name == "discord" else "other")
    refused = {
        "another body": (changed(request, body=request.body.replace(b"1", b"2")), "wrong_signature"),
        "another secret": (made(client, sender, secret=other), "wrong_signature"),
        "no proof": (changed(request, headers=request.headers[:1]), None),
        "cut": (with_other(request, lambda value: value[:-2]), None),
    }
    if name not in TIMELESS:
        old = datetime.now(UTC) - timedelta(minutes=6)
        refused["too old"] = (made(client, sender, now=old), "too_old")
    for what, (wrong, reason) in refused.items():
        response = await send(client, wrong)
        assert (response.status_code, response.json()["code"]) == (401, "unverified"), what
        stored = await last(database)
        assert (stored["outcome"], stored["payload"]) == ("unverified", None), what
        assert reason in (None, stored["reason"]), what
    assert await database.value("SELECT count(*) FROM runs") == 0
    assert (await send(client, request)).status_code in (200, 202)
    stored = await last(database)
    assert stored["outcome"] == "started"
    assert stored["payload"] == (FIELDS if name == "twilio" else json.loads(BODY))
    assert await database.value("SELECT count(*) FROM runs") == 1


@pytest.mark.parametrize(
    ("name", "secret", "headers", "body", "reason"),
    [
        ("github", "mysecret", (("X-Hub-Signature-256", f"sha256={GITHUB}"),), '{\n  "foo": "bar"\n}\n', None),
        (
            "slack",
            "8f742231b10e8888abcd99yyyzzz85a5",
            (("X-Slack-Request-Timestamp", "1531420618"), ("X-Slack-Signature", f"v0={SLACK}")),
            SLACK_BODY.decode(),
            "too_old",
        ),
        (
            "stripe",
            "whsec_test_secret",
            (("Stripe-Signature", f"t=1700000000,v1={STRIPE}"),),
            '{"id":"evt_1","object":"event"}',
            "too_old",
        ),
        (
            "standard",
            SYMMETRIC,
            (
                ("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("Webhook-Timestamp", str(MESSAGE_TIME)),
                ("Webhook-Signature", V1),
            ),
            '{"test": 2432232314}',
            "too_old",
        ),
    ],
    ids=["github", "slack", "stripe", "standard"],
)
async def test_published_signatures_are_known_as_valid_although_most_are_old(
    starting: Starting,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    secret: str,
    headers: tuple[tuple[str, str], ...],
    body: str,
    reason: str | None,
) -> None:
    monkeypatch.setenv(f"{name.upper()}_WEBHOOK_SECRET", secret)
    await apply(database, document())
    async with starting() as gateway:
        url = at(gateway.client, name)
        request = HookRequest(
            "POST", url, (("content-type", FORM if name == "slack" else JSON), *headers), body.encode()
        )
        response = await send(gateway.client, request)
        assert response.status_code == (401 if reason else 202)
        assert (await last(database))["reason"] == reason
        for wrong in (
            changed(request, body=request.body + b" "),
            with_other(request, lambda value: value[:-3] + "000"),
        ):
            assert (await send(gateway.client, wrong)).status_code == 401
            assert (await last(database))["reason"] in ("wrong_signature", "malformed_signature")
