"""Who is stopped from following redirects, and who isn't."""

from __future__ import annotations

import aiohttp
import httpx

from flowyard.llm.calls import REPLY_LIMIT
from flowyard.llm.litellm_http import guarded_http
from flowyard.llm.litellm_responses import GuardedCall
from support.wire.behaviour import Status, Text
from support.wire.openai import openai_server


async def statuses(url: str) -> list[int]:
    """What clients get that want to follow."""
    async with httpx.AsyncClient(follow_redirects=True) as client, aiohttp.ClientSession() as session:
        first = (await client.post(url, json={"model": "m"})).status_code
        async with session.post(url, json={"model": "m"}) as response:
            return [first, response.status]


async def test_within_a_call_no_client_follows_and_outside_all_do() -> None:
    async with openai_server([Text("hi")]) as other, openai_server([Status(307, {"Location": other.url})]) as server:
        with guarded_http(GuardedCall(REPLY_LIMIT)):
            assert await statuses(server.url) == [307, 307]
        assert other.requests == []
        assert await statuses(server.url) == [200, 200]
        assert len(other.requests) == 2
