from __future__ import annotations

import pytest

from flowyard.bus.drops import Drops


def test_every_loss_is_counted_and_a_flood_of_them_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    counted: list[tuple[str, str]] = []
    drops = Drops(lambda *drop: counted.append(drop))
    for _ in range(1000):
        drops.add("slow_consumer", "RunTokens")
    drops.add("slow_consumer", "RunEvents")
    assert counted == [("slow_consumer", "RunTokens")] * 1000 + [("slow_consumer", "RunEvents")]
    assert [vars(record)["kind"] for record in caplog.records] == ["RunTokens", "RunEvents"]
