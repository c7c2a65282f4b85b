"""Many large documents at once: each takes seconds to check."""

from __future__ import annotations

import asyncio

import httpx

SMALL = """\
flow: {name: haiku}
state: {fields: {topic: {type: str, required: true}, poem: str}}
nodes:
  - {id: write, prompt: 'On {topic}', outputs: [poem]}
"""


async def test_a_flood_of_large_documents_is_checked_in_turn_or_refused(client: httpx.AsyncClient) -> None:
    nodes = "".join(f"  - {{id: n{number}, prompt: 'On {{topic}}', outputs: [poem]}}\n" for number in range(400))
    document = SMALL[: SMALL.index("  - {id")] + nodes
    answers = await asyncio.gather(*(client.post("/v1/validate", content=document, timeout=60) for _ in range(80)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    for refused in (answer for answer in answers if answer.status_code == 429):
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("too_busy", "5")
    assert all(answer.json()["valid"] for answer in answers if answer.status_code == 200)
    assert (await client.post("/v1/validate", content=SMALL)).json()["valid"]
