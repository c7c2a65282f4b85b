"""A reply that may still be corrected is shown while it is written, but not as the answer."""

from __future__ import annotations

from typing import Any

import pytest

from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunTokens
from flowyard.runs.claim import Claim
from flowyard.storage.database import Database
from services.gateway.chat.conftest import Chunks, Sender, document, text_of
from services.gateway.conftest import Gateway
from support.hands import Hands
from support.queued import apply


def drafting(options: str) -> str:
    return document(options).replace("reply: str", "reply: {type: str, format: workflow}")


def piece(claim: Claim, text: str, call: int) -> RunTokens:
    return RunTokens(run_id=claim.run_id, epoch=claim.epoch, node="answer", visit=1, call=call, text=text)


def thoughts_of(events: list[Any]) -> str:
    deltas = [event["choices"][0]["delta"] for event in events if isinstance(event, dict) and event.get("choices")]
    return "".join(delta.get("reasoning_content") or "" for delta in deltas)


async def written(chunks: Chunks, hands: Hands, bus: Bus, *, shown: bool) -> list[Any]:
    """All events of a stream whose run has written two drafts. `shown`: whether the gateway reads them."""
    claim = await hands.take()
    await chunks.next()
    if shown:
        await hands.followed(claim)
    for text, call in (("wro", 1), ("ng", 1), ("ri", 2), (" late", 1), ("ght", 2)):
        bus.publish(piece(claim, text, call))
    await hands.succeed(claim, {"reply": "right"})
    return await chunks.rest()


@pytest.mark.parametrize(("show_steps", "thoughts"), [("true", "wrong\n\nright"), ("false", "")])
async def test_drafts_are_shown_as_steps_each_try_anew(
    gateway: Gateway, sender: Sender, hands: Hands, bus: Bus, database: Database, show_steps: str, thoughts: str
) -> None:
    await apply(database, drafting(f"show_steps: {show_steps}"))
    async with sender.stream() as chunks:
        events = await written(chunks, hands, bus, shown=show_steps == "true")
    assert thoughts_of(events) == thoughts
    assert text_of(events) == "right"


async def test_a_response_has_no_part_for_each_piece_of_a_draft(
    gateway: Gateway, sender: Sender, hands: Hands, bus: Bus, database: Database
) -> None:
    await apply(database, drafting("show_steps: true"))
    body = {"model": "support", "input": "Hello", "stream": True}
    async with sender.client.stream("POST", "/v1/responses", json=body) as response:
        chunks = Chunks(response, (line async for line in response.aiter_lines() if not line.startswith("event:")))
        events = await written(chunks, hands, bus, shown=True)
    kinds = [event["type"] for event in events if isinstance(event, dict)]
    assert "response.output_text.delta" in kinds
    assert not [kind for kind in kinds if "reasoning" in kind]
