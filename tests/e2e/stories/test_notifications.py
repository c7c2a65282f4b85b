"""Receivers are notified that a run has ended, and verify that with libraries that aren't ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

import pytest
import standardwebhooks

from support.cli import CommandLine
from support.lazily import lazily
from support.neighbourhood import FILES, VARIABLES
from support.node_signing import signed_in_javascript
from support.receiving import Received, ReceivingServer, receiving
from support.system import System
from support.visitor import JsonObject, Visitor
from support.waiting import eventually

if TYPE_CHECKING:
    import svix.webhooks
else:
    svix = lazily("svix")

REPORTED: Final = """\
flow: {name: reported}
state:
  fields:
    number: {type: int, required: true}
    half: int
nodes:
  - {id: positive, assert: number >= 0, message: it is negative}
  - {id: halve, set: {half: {expr: number // 2}}}
on_finish:
  - {url: 'URL/variable', secret: '${env:A_WEBHOOK_SECRET}'}
  - {url: 'URL/file', secret: ['${file:receiver}', '${env:A_WEBHOOK_SECRET}'], status: succeeded}
  - {url: 'URL/failures', secret: '${env:A_WEBHOOK_SECRET}', status: failed, include: none}
"""
FORBIDDEN: Final = "http://169.254.169.254/latest/meta-data"
"""Where a cloud answers the machines that run in it. Nothing listens there in tests: it is refused before that."""


@pytest.fixture
async def receiver(system: System) -> AsyncIterator[ReceivingServer]:
    async with receiving(host=system.near.host) as server:
        yield server


def verify(received: Received, secret: str) -> JsonObject:
    """By two libraries in Python and one in JavaScript."""
    text, headers = received.body.decode(), {name.lower(): value for name, value in received.headers.items()}
    message: JsonObject = standardwebhooks.Webhook(secret).verify(text, headers)
    svix.webhooks.Webhook(secret).verify(text, headers)
    seconds = headers["webhook-timestamp"]
    case = {"sender": "standard", "secret": secret, "seconds": seconds, "body": text, "headers": headers}
    [result] = signed_in_javascript([case])
    assert (result["accepts"], result["acceptsChanged"]) == (True, False)
    return message


async def test_receivers_of_the_document_verify_what_they_get(visitor: Visitor, receiver: ReceivingServer) -> None:
    await visitor.apply("reported", REPORTED.replace("URL", receiver.url))
    good, bad = [await visitor.ended(await visitor.submit("reported", number=number)) for number in (10, -1)]
    expected = {"/variable": 2, "/file": 1, "/failures": 1}
    await eventually(lambda: {path: len(receiver.at(path)) for path in expected} == expected)
    for path, secrets in {
        "/variable": [VARIABLES["A_WEBHOOK_SECRET"]],
        "/file": [FILES["receiver"], VARIABLES["A_WEBHOOK_SECRET"]],
        "/failures": [VARIABLES["A_WEBHOOK_SECRET"]],
    }.items():
        for received in receiver.at(path):
            messages = await asyncio.gather(*(asyncio.to_thread(verify, received, secret) for secret in secrets))
            run = good if received.data["id"] == good["id"] else bad
            assert {(message["type"], message["data"]["id"]) for message in messages} == {
                (f"run.{run['status']}", run["id"])
            }
            assert messages[0]["data"].get("outputs") == (run["outputs"] or None)
    (failure,) = receiver.at("/failures")
    assert failure.data["error"]["code"] == "assertion_failed"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(failure, FILES["receiver"])


async def test_a_receiver_that_the_caller_names_verifies_with_the_secret_of_the_installation(
    visitor: Visitor, system: System, cli: CommandLine, receiver: ReceivingServer
) -> None:
    await visitor.apply("reported", REPORTED.replace("URL", receiver.url))
    secret = asyncio.create_task(system.command("notifications", "secret"))
    await cli.output("run", "reported", "-i", "number=4", "--on-finish", f"{receiver.url}/mine")
    await eventually(lambda: receiver.at("/mine"))
    (received,) = receiver.at("/mine")
    message = await asyncio.to_thread(verify, received, (await secret).strip())
    assert (message["type"], message["data"]["outputs"]) == ("run.succeeded", {"half": 2})

    async def listed(state: str) -> bool:
        items = (await cli.data("notifications", "list", "--run", message["data"]["id"]))["items"]
        return [item["state"] for item in items] == [state] * 3

    await eventually(lambda: listed("sent"))


async def test_nothing_is_sent_to_an_address_that_is_neither_public_nor_allowed(visitor: Visitor) -> None:
    document = REPORTED.replace("URL", FORBIDDEN).replace("reported", "reported-inside")
    await visitor.apply("reported-inside", document)
    run = await visitor.ended(await visitor.submit("reported-inside", number=2))
    tried = await eventually(refusals_of(visitor, run["id"]))
    assert len(tried) == 2
    for answer in tried:
        assert answer["status"] is None
        assert "FLOWYARD_OUTBOUND_ALLOW" in answer["failure"]


def refusals_of(visitor: Visitor, run_id: str) -> Callable[[], Any]:
    """The answers to all notifications of a run, once each was tried."""

    async def look() -> list[JsonObject]:
        items = (await visitor.get("/v1/notifications", run=run_id))["items"]
        whole = [await visitor.get(f"/v1/notifications/{item['id']}") for item in items]
        answers = [each["answers"] for each in whole]
        return [answer for each in answers for answer in each] if answers and all(answers) else []

    return look
