"""The AsyncAPI document describes what is really published: each message, where it is and what it looks like."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry as Resources
from referencing.jsonschema import DRAFT202012

from flowyard.api.public_events import PUBLIC_EVENTS
from flowyard.secrets.sealing import SecretBox, new_key, read_keys
from support.event_stream import Published, stream_reader
from support.executors import Yard, open_yard
from support.waiting import eventually
from support.wire.behaviour import Status, Text
from support.wire.server import Request

DOCUMENT: Final = """
flow: {name: a poem.}
state:
  fields:
    topic: {type: str, required: true}
    token: {type: str, required: true, secret: true}
    poem: str
nodes:
  - {id: write, prompt: "write {topic} with {token}", outputs: [poem], retry: {max_retries: 1, initial_delay: 0.01}}
config: {llm: MODEL}
"""
SECRET: Final = "correct-horse-battery-staple"


@pytest.fixture
async def yard(database_url: str, nats_url: str) -> AsyncIterator[Yard]:
    def replies(request: Request) -> Any:
        # A provider that repeats what it was sent.
        prompt = str(request.body["messages"][-1]["content"])
        return Status(500) if "storm" in prompt else Text(prompt)

    async with open_yard(database_url, nats_url, replies) as yard:
        yield yard


async def test_each_published_message_is_as_its_channel_says(starting: Any, yard: Yard, nats_url: str) -> None:
    async with starting(events="all", port=0) as registry, stream_reader(nats_url) as reader:
        document = (await registry.client.get("/asyncapi.json")).json()
        await eventually(lambda: yard.database.value("SELECT holder FROM event_relays"))
        key = new_key()
        await yard.executor("one", SECRET_KEY=key)
        token = SecretBox(read_keys(key)).seal(SECRET, workflow="a poem.", name="token")
        name = await yard.apply(DOCUMENT)
        runs = {str(await yard.submit(name, topic=topic, token=token)) for topic in ("snow", "storm")}

        async def all_of_both() -> list[Published] | None:
            messages = [each for each in await reader.all() if each.data["run_id"] in runs]
            ends = [each for each in messages if each.kind in ("flowyard.run.succeeded", "flowyard.run.failed")]
            return messages if len(ends) == len(runs) else None

        messages: list[Published] = await eventually(all_of_both, 40)
    kinds = {message.kind for message in messages}
    assert kinds >= {f"flowyard.step.{kind}" for kind in ("started", "retrying", "finished", "failed")}
    for message in messages:
        described = [channel for channel in document["channels"].values() if _fits(channel["address"], message.subject)]
        assert len(described) == 1, message.subject
        [reference] = described[0]["messages"].values()
        body = document["components"]["messages"][reference["$ref"].rpartition("/")[2]]
        assert body["name"] == message.kind
        _validate(document, body["payload"], message.payload)
        _validate(document, body["headers"], message.headers)
        assert message.headers["Content-Type"] == body["contentType"]
        assert SECRET not in json.dumps(message.payload)
    assert any("***" in json.dumps(message.payload) for message in messages), "the reply wasn't masked"


def _fits(address: str, subject: str) -> bool:
    return re.fullmatch(re.escape(address).replace(re.escape("{workflow}"), "[^.]+"), subject) is not None


def _validate(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    resource = DRAFT202012.create_resource(document)
    whole = json.loads(json.dumps(schema).replace('"#/components', '"urn:document#/components'))
    resources = Resources().with_resource("urn:document", resource)
    Draft202012Validator(whole, registry=resources, format_checker=FormatChecker()).validate(value)


@pytest.mark.parametrize(
    ("events", "kinds"),
    [("all", list(PUBLIC_EVENTS)), ("runs", [kind for kind in PUBLIC_EVENTS if kind.startswith("run.")]), ("off", [])],
)
async def test_the_document_has_the_channels_of_what_is_published(starting: Any, events: str, kinds: list[str]) -> None:
    async with starting(events=events) as registry:
        document = (await registry.client.get("/asyncapi.json")).json()
    assert document["asyncapi"] == "3.1.0"
    assert [channel["address"] for channel in document["channels"].values()] == [
        f"flowyard.events.{{workflow}}.{kind}" for kind in kinds
    ]
