"""Senders of each kind send webhooks through the gateway, signed by libraries that aren't ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest

from flowyard.webhooks.request import HookRequest
from support.cli import CommandLine
from support.foreign_signers import FOREIGN, PLAIN, Unsigned
from support.hook_senders import SECRETS, send
from support.hooks import FORM, JSON, PARTIES, PUBLIC_KEY
from support.neighbourhood import VARIABLES
from support.system import System
from support.visitor import JsonObject, Visitor
from support.waiting import eventually

TEXT: Final = "Grüße aus dem Haus 😀"
OTHERS: Final = {"standard": "whsec_b3RoZXI=", "standard-v1a": "whsk_" + "B" * 43 + "=", "discord": "0" * 63 + "1"}
"""Secrets that a sender might have signed with, of the same form as its own."""
COPIES: Final = 4
HEAD: Final = """\
flow: {name: hooked}
state:
  fields:
    sender: {type: str, required: true}
    text: {type: str, required: true}
    echo: str
nodes:
  - {id: keep, set: {echo: '{sender} wrote: {text}'}}
triggers:
"""


@dataclass(frozen=True)
class Webhook:
    """What a sender sends to the trigger of the same name. `inputs`: of the run, or runs, that this starts.

    `more`: keys of the trigger's webhook besides its kind and its secret.
    """

    kind: str
    body: Any
    inputs: tuple[JsonObject, ...]
    when: str
    sender: str
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    more: str = ""
    accepted: int = 202

    @property
    def is_form(self) -> bool:
        return isinstance(self.body, tuple)

    @property
    def content(self) -> str:
        return urlencode(self.body) if isinstance(self.body, tuple) else json.dumps(self.body)

    def by(self, signer: str) -> Webhook:
        """No copy of what another one sends to the same trigger."""
        body = (*self.body, ("by", signer)) if self.is_form else {**self.body, "by": signer}
        return replace(self, body=body)


def wrote(sender: str, text: str = TEXT) -> JsonObject:
    return {"sender": sender, "text": text}


def simple(kind: str, **about: Any) -> Webhook:
    """In a format that its receiver chooses."""
    body = {"name": kind, "data": {"text": TEXT}}
    return Webhook(kind, body, (wrote(kind),), "true", "{payload.name}", "{payload.data.text}", **about)


def whatsapp_message(number: int) -> JsonObject:
    return {"id": f"wamid.{number}", "from": "49170", "type": "text", "text": {"body": f"{TEXT} {number}"}}


WHATSAPP: Final = {
    "metadata": {"phone_number_id": "9"},
    "contacts": [{"wa_id": "49170", "profile": {"name": "Ada"}}],
    "messages": [whatsapp_message(1), whatsapp_message(2)],
}
WEBHOOKS: Final[Mapping[str, Webhook]] = {
    "generic": simple("generic"),
    "bearer": simple("bearer"),
    "standard": simple("standard"),
    "standard-v1a": simple("standard"),
    "github": Webhook(
        "github",
        {"action": "opened", "issue": {"title": TEXT, "user": {"login": "ada"}}},
        (wrote("ada"),),
        "headers['x-github-event'] == 'issues' and payload.action == 'opened'",
        "{payload.issue.user.login}",
        "{payload.issue.title}",
        headers={"X-GitHub-Event": "issues", "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"},
    ),
    "slack": Webhook(
        "slack",
        {"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention", "text": TEXT, "user": "U1"}},
        (wrote("U1"),),
        "payload.type == 'event_callback'",
        "{payload.event.user}",
        "{payload.event.text}",
        accepted=200,
    ),
    "slack_command": Webhook(
        "slack",
        (("command", "/ask"), ("text", TEXT), ("user_id", "U2"), ("trigger_id", "13345224609.738474920")),
        (wrote("U2"),),
        "payload.command == '/ask'",
        "{payload.user_id}",
        "{payload.text}",
        accepted=200,
    ),
    "stripe": Webhook(
        "stripe",
        {"id": "evt_1", "type": "invoice.paid", "data": {"object": {"customer": "cus_1", "description": TEXT}}},
        (wrote("cus_1"),),
        "payload.type == 'invoice.paid'",
        "{payload.data.object.customer}",
        "{payload.data.object.description}",
    ),
    "telegram": Webhook(
        "telegram",
        {"update_id": 7, "message": {"text": TEXT, "chat": {"id": 42}, "from": {"username": "ada"}}},
        (wrote("ada"),),
        "contains(payload, 'message')",
        "{payload.message.from.username}",
        "{payload.message.text}",
    ),
    "whatsapp": Webhook(
        "whatsapp",
        {"entry": [{"id": "1", "changes": [{"field": "messages", "value": WHATSAPP}]}]},
        (wrote("Ada", f"{TEXT} 1"), wrote("Ada", f"{TEXT} 2")),
        "payload.message.type == 'text'",
        "{payload.contact.profile.name}",
        "{payload.message.text.body}",
        more=", verify_token: '${env:META_VERIFY_TOKEN}'",
    ),
    "discord": Webhook(
        "discord",
        {"id": "11", "application_id": "8", "type": 2, "token": "t", "data": {"name": "ask", "text": TEXT}},
        (wrote("ask"),),
        "payload.type == 2",
        "{payload.data.name}",
        "{payload.data.text}",
        accepted=200,
    ),
    "twilio": Webhook(
        "twilio",
        (("MessageSid", "SM1"), ("From", "+49170"), ("Body", TEXT)),
        (wrote("+49170"),),
        "true",
        "{payload.From}",
        "{payload.Body}",
        accepted=200,
    ),
}
SIGNERS: Final = {**FOREIGN, **PLAIN, "slack with a command": ("slack_command", FOREIGN["slack"][1])}
"""Each with the trigger that it signs for."""


def document() -> str:
    return HEAD + "".join(trigger(name, webhook) for name, webhook in WEBHOOKS.items())


def trigger(name: str, webhook: Webhook) -> str:
    variable = f"{party_of(name).upper().replace('-', '_')}_WEBHOOK_SECRET"
    assert variable in SECRETS
    proof = f"public_key: {PUBLIC_KEY}" if name == "discord" else f"secret: '${{env:{variable}}}'"
    return (
        f"  {name}:\n"
        f"    webhook: {{path: stories/{name}, kind: {webhook.kind}, {proof}{webhook.more}}}\n"
        f"    when: {json.dumps(webhook.when)}\n"
        f"    inputs: {{sender: '{webhook.sender}', text: '{webhook.text}'}}\n"
    )


def party_of(name: str) -> str:
    return name.removesuffix("_command")


def signed(visitor: Visitor, signer: str, webhook: Webhook, *, secret: str | None = None) -> HookRequest:
    """`secret`: instead of the sender's own."""
    name, sign = SIGNERS[signer]
    url, content = f"{str(visitor.http.base_url).rstrip('/')}/hooks/stories/{name}", webhook.content
    given = Unsigned(
        url, content, secret or PARTIES[party_of(name)].secret, delivery_id=f"msg_{signer.replace(' ', '-')}"
    )
    headers = {"Content-Type": FORM if webhook.is_form else JSON, **webhook.headers, **sign(given)}
    return HookRequest("POST", url, tuple(headers.items()), content.encode())


async def deliveries(visitor: Visitor, name: str, request: HookRequest) -> list[JsonObject]:
    """What was recorded of requests with this body."""
    page = await visitor.get("/v1/deliveries", workflow="hooked", trigger=name, limit=100)
    digest = hashlib.sha256(request.body).hexdigest()
    return [item for item in page["items"] if item["digest"] == digest]


async def runs_of(visitor: Visitor, workflow: str) -> set[str]:
    page = await visitor.get("/v1/runs", workflow=workflow, limit=200)
    assert page["next_cursor"] is None, "these are all"
    return {run["id"] for run in page["items"]}


@pytest.mark.parametrize("signer", SIGNERS)
async def test_what_a_sender_signs_starts_its_runs_once_and_what_it_has_not_signed_starts_none(
    visitor: Visitor, signer: str
) -> None:
    await visitor.apply("hooked", document())
    name, _ = SIGNERS[signer]
    webhook = WEBHOOKS[name].by(signer)
    request = signed(visitor, signer, webhook)
    before = await runs_of(visitor, "hooked")
    strangers = [signed(visitor, signer, webhook, secret=OTHERS.get(name, "other"))]
    if name not in ("bearer", "telegram"):
        strangers.append(replace(request, body=request.body + b" "))
    for wrong in strangers:
        refused = await send(visitor.http, wrong)
        assert (refused.status_code, refused.json()["code"]) == (401, "unverified")
    assert (await send(visitor.http, request)).status_code == webhook.accepted
    copies = await asyncio.gather(*(send(visitor.http, request) for _ in range(COPIES)))
    assert {copy.status_code for copy in copies} == {200}
    recorded = await deliveries(visitor, name, request)
    count = len(webhook.inputs)
    assert Counter(item["outcome"] for item in recorded) == {
        "unverified": 1,
        "started": count,
        "repeated": count * COPIES,
    }
    started = [item["run_id"] for item in reversed(recorded) if item["outcome"] == "started"]
    assert await runs_of(visitor, "hooked") - before == set(started)
    assert {item["run_id"] for item in recorded if item["outcome"] == "repeated"} == set(started)
    runs = await visitor.all_ended(started)
    assert [(run["status"], run["inputs"]) for run in runs] == [("succeeded", inputs) for inputs in webhook.inputs]
    assert [run["outputs"]["echo"] for run in runs] == [
        f"{each['sender']} wrote: {each['text']}" for each in webhook.inputs
    ]


@pytest.mark.parametrize(
    ("name", "body", "answer"),
    [
        ("slack", {"type": "url_verification", "challenge": "3eZbrw1aB"}, {"challenge": "3eZbrw1aB"}),
        ("discord", {"id": "1", "application_id": "8", "type": 1}, {"type": 1}),
    ],
)
async def test_a_sender_that_looks_who_is_there_is_answered_if_it_has_signed(
    visitor: Visitor, name: str, body: JsonObject, answer: JsonObject
) -> None:
    await visitor.apply("hooked", document())
    (signer,) = (signer for signer, (party, _) in FOREIGN.items() if party == name)
    look = replace(WEBHOOKS[name], body=body)
    right = await send(visitor.http, signed(visitor, signer, look))
    assert (right.status_code, right.json()) == (200, answer)
    assert (
        await send(visitor.http, signed(visitor, signer, look, secret=OTHERS.get(name, "other")))
    ).status_code == 401


async def test_meta_is_answered_its_challenge_if_it_knows_the_token(visitor: Visitor) -> None:
    await visitor.apply("hooked", document())
    async with httpx.AsyncClient(base_url=visitor.http.base_url) as meta:
        for token, expected in ((SECRETS["META_VERIFY_TOKEN"], (200, "1158201444")), ("other", (401, None))):
            query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": "1158201444"}
            response = await meta.get("/hooks/stories/whatsapp", params=query)
            assert (response.status_code, response.text if response.is_success else None) == expected


async def test_a_secret_in_a_file_can_be_replaced_while_the_stack_runs_and_a_variable_may_have_any_characters(
    visitor: Visitor, system: System
) -> None:
    secrets = "['${file:sender}', '${env:ODD_WEBHOOK_SECRET}']"
    text = f"{HEAD}  filed:\n    webhook: {{path: stories/filed, kind: github, secret: {secrets}}}\n"
    await visitor.apply("filed", text.replace("hooked", "filed") + "    inputs: {sender: '{payload.n}', text: x}\n")
    file, url = system.near.files / "sender", f"{str(visitor.http.base_url).rstrip('/')}/hooks/stories/filed"

    async def answer(secret: str) -> int:
        body = json.dumps({"n": uuid4().hex})
        headers = FOREIGN["octokit"][1](Unsigned(url, body, secret))
        request = HookRequest("POST", url, (("Content-Type", JSON), *headers.items()), body.encode())
        return (await send(visitor.http, request)).status_code

    before = file.read_text().strip()
    assert [await answer(secret) for secret in (before, "next", VARIABLES["ODD_WEBHOOK_SECRET"])] == [202, 401, 202]
    file.write_text("next\n")
    try:

        async def counts() -> bool:
            return await answer("next") == 202

        await eventually(counts, 5)
        assert [await answer(secret) for secret in (before, VARIABLES["ODD_WEBHOOK_SECRET"])] == [401, 202]
    finally:
        file.write_text(f"{before}\n")


async def test_the_command_line_sends_as_a_sender_does_and_lists_and_replays_what_came(
    visitor: Visitor, cli: CommandLine
) -> None:
    await visitor.apply("hooked", document())
    listed = (await cli.data("triggers", "list", "--workflow", "hooked"))["items"]
    assert {item["name"]: item["path"] for item in listed} == {name: f"stories/{name}" for name in WEBHOOKS}
    (cli.folder / "order.json").write_text(json.dumps({"name": "cli", "data": {"text": uuid4().hex}}))
    sent = await cli.data("hooks", "send", "stories/generic", "--payload", "order.json")
    run = await visitor.ended(sent["body"]["run_id"])
    [delivery] = (await cli.data("triggers", "deliveries", "--run", run["id"]))["items"]
    assert (delivery["trigger"], delivery["outcome"], sent["status"]) == ("generic", "started", 202)
    replayed = await visitor.ended((await cli.data("triggers", "replay", delivery["id"]))["run_id"])
    assert (replayed["inputs"], replayed["status"]) == (run["inputs"], "succeeded")
    assert replayed["id"] != run["id"]
