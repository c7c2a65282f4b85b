"""Requests that end before their answer: clients must not take what they have for all of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from flowyard.storage.database import Database
from flowyard.storage.runs import Runs
from services.gateway.chat.conftest import document, said
from services.gateway.conftest import Starting
from support.hands import Hands
from support.lazily import lazily
from support.queued import apply

if TYPE_CHECKING:
    import openai
else:
    openai = lazily("openai")


@pytest.mark.parametrize("form", ["chat", "responses"])
async def test_a_gateway_that_shuts_down_ends_a_stream_with_an_error_and_its_run_goes_on(
    starting: Starting, hands: Hands, database: Database, form: str
) -> None:
    await apply(database, document("on_disconnect: cancel"))
    async with starting() as gateway:
        url = str(gateway.client.base_url.join("/v1"))
        async with openai.AsyncOpenAI(base_url=url, api_key=gateway.keys["run"], max_retries=0) as client:
            stream = await sent(client, form, stream=True)
            claim = await hands.take()
            await hands.followed(claim)
            hands.say(claim, "answer", "Hello")
            await anext(stream)
            gateway.ending.set()
            with pytest.raises(openai.APIError) as broken:
                async for _ in stream:
                    pass
    assert broken.value.code == "shutting_down"
    assert str(claim.run_id) in broken.value.message
    assert not (await Runs(database).get(claim.run_id)).cancel_requested


@pytest.mark.parametrize("form", ["chat", "responses"])
async def test_a_request_that_a_shutdown_cuts_off_says_that_its_run_goes_on_and_is_not_made_again(
    starting: Starting, hands: Hands, database: Database, form: str
) -> None:
    await apply(database, document("on_disconnect: cancel"))
    async with starting() as gateway:
        url = str(gateway.client.base_url.join("/v1"))
        async with openai.AsyncOpenAI(base_url=url, api_key=gateway.keys["run"], max_retries=2) as client:
            sending = asyncio.create_task(sent(client, form, stream=False))
            claim = await hands.take()
            gateway.ending.set()
            with pytest.raises(openai.InternalServerError) as cut:
                await sending
    assert (cut.value.status_code, cut.value.code) == (503, "shutting_down")
    assert str(claim.run_id) in cut.value.message
    headers = cut.value.response.headers
    assert (headers["x-flowyard-run-id"], headers["retry-after"]) == (str(claim.run_id), "1")
    assert headers["x-should-retry"] == "false"
    assert not (await Runs(database).get(claim.run_id)).cancel_requested
    assert await database.value("SELECT count(*) FROM runs") == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_request_with_a_key_may_be_repeated_after_a_shutdown(
    starting: Starting, hands: Hands, database: Database, path: str
) -> None:
    await apply(database, document())
    async with starting() as gateway:
        body = {"model": "support", "messages": [said()], "input": "Hello"}
        posting = gateway.client.post(path, json=body, headers={"idempotency-key": "once"})
        sending = asyncio.create_task(posting)
        await hands.take()
        gateway.ending.set()
        cut = await sending
    assert (cut.status_code, cut.headers["retry-after"]) == (503, "1")
    assert "x-should-retry" not in cut.headers


async def sent(client: openai.AsyncOpenAI, form: str, *, stream: bool) -> Any:
    if form == "chat":
        messages: Any = [said()]
        return await client.chat.completions.create(model="support", messages=messages, stream=stream)
    return await client.responses.create(model="support", input="Hello", stream=stream)
