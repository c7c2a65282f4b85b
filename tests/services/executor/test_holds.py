"""What other executors say of a provider is believed for a moment."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.messages import ModelHeld
from flowyard.language.nodes import ModelSettings
from flowyard_executor.holds import BELIEVED_S, Holds, place_of

SETTINGS = ModelSettings(provider="openai", model="m")
HELD = ModelHeld(place=place_of(SETTINGS), wait_s=60)


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    """Without a NATS."""
    async with open_bus("nats://127.0.0.1:9", name="test") as bus:
        yield bus


async def test_a_flood_of_messages_holds_calls_half_of_the_time(bus: Bus) -> None:
    now = 0.0
    holds = Holds(bus, clock=lambda: now)
    held = 0
    for tenth in range(200):
        now = tenth / 10
        await holds.receive(HELD)
        held += holds.left_s(SETTINGS) > 0
        assert holds.left_s(SETTINGS) <= BELIEVED_S
    assert held <= 110


async def test_what_a_provider_says_itself_holds_for_as_long_as_it_says(bus: Bus) -> None:
    holds = Holds(bus, clock=lambda: 0.0)
    holds.add(SETTINGS, 30)
    await holds.receive(HELD)
    assert holds.left_s(SETTINGS) == 30


async def test_messages_about_any_number_of_places_take_a_bounded_amount(bus: Bus) -> None:
    holds = Holds(bus, clock=lambda: 0.0)
    for number in range(5000):
        await holds.receive(ModelHeld(place=str(number), wait_s=60))
    assert len(holds._until) + len(holds._not_believed_until) <= 2000
