"""Workflows with a webhook for each sender, and requests as the senders send them, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from flowyard.webhooks.request import HookRequest
from support.hooks import ASYMMETRIC_PUBLIC, FORM, JSON, PARTIES, PUBLIC_KEY, SYMMETRIC

SECRETS: Final[Mapping[str, str]] = {
    **{f"{name.upper().replace('-', '_')}_WEBHOOK_SECRET": party.secret for name, party in PARTIES.items()},
    "STANDARD_WEBHOOK_SECRET": SYMMETRIC,
    "STANDARD_V1A_WEBHOOK_SECRET": ASYMMETRIC_PUBLIC,
    "META_VERIFY_TOKEN": "v3rify-me",
}
"""The environment of the gateway."""
NO_HEADERS: Final[Mapping[str, str]] = {}
MESSAGE: Final = {
    "entry": [{"id": "1", "changes": [{"field": "messages", "value": {"messages": [{"id": "wamid.A", "from": "4"}]}}]}]
}
BODIES: Final[Mapping[str, Any]] = {"whatsapp": MESSAGE, "telegram": {"update_id": 7}}


def document(**more: str) -> str:
    """`more`: further keys of all triggers' webhooks, by name."""
    return HEAD + "".join(_trigger(name, more) for name in PARTIES)


HEAD: Final = """
flow: {name: hooked}
state: {fields: {topic: {type: any, required: true}, poem: any}}
nodes:
  - {id: keep, set: {poem: "{topic}"}}
triggers:
"""


def _trigger(name: str, more: Mapping[str, str]) -> str:
    party = PARTIES[name]
    proof = f"secret: '${{env:{name.upper().replace('-', '_')}_WEBHOOK_SECRET}}'"
    if name == "discord":
        proof = f"public_key: {PUBLIC_KEY}"
    if name == "whatsapp":
        proof += ", verify_token: '${env:META_VERIFY_TOKEN}'"
    keys = "".join(f", {key}: {value}" for key, value in more.items())
    webhook = f"path: in/{name}, kind: {party.sender}, {proof}{keys}"
    return f"  {name}:\n    webhook: {{{webhook}}}\n    inputs: {{topic: '{{payload}}'}}\n"


def signed(
    name: str, url: str, body: Any = None, *, now: datetime | None = None, headers: Mapping[str, str] = NO_HEADERS
) -> HookRequest:
    """A request of the sender. `body`: JSON, or text as it is."""
    party = PARTIES[name]
    body = BODIES.get(name, {"id": "evt_1", "MessageSid": "SM1"}) if body is None else body
    content = body if isinstance(body, str) else json.dumps(body)
    kind = FORM if name == "twilio" and isinstance(body, str) else JSON
    request = HookRequest("POST", url, (("content-type", kind), *headers.items()), content.encode())
    return party.signed(request, now or datetime.now(UTC))


async def send(client: httpx.AsyncClient, request: HookRequest) -> httpx.Response:
    """As it is: with headers that come twice, and without the client's own key."""
    headers = [(name.encode(), value.encode()) for name, value in request.headers]
    async with httpx.AsyncClient(base_url=client.base_url, timeout=10) as stranger:
        return await stranger.request(request.method, request.url, headers=headers, content=request.body)


def at(client: httpx.AsyncClient, name: str, query: str = "") -> str:
    return f"{str(client.base_url).rstrip('/')}/hooks/in/{name}{query}"


def changed(request: HookRequest, **about: Any) -> HookRequest:
    return replace(request, **about)


def with_other(request: HookRequest, change: Callable[[str], str]) -> HookRequest:
    """The request with its last header, which is a signature, changed."""
    *first, (name, value) = request.headers
    return replace(request, headers=(*first, (name, change(value))))
