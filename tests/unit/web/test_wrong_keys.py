from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowyard.web.wrong_keys import WrongKeys, client_of, read_networks
from unit.web.conftest import Service

KEY = "fy_{}_" + "b" * 40


def scope(address: str = "192.0.2.1", forwarded: str | None = None) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return {"type": "http", "client": (address, 1), "headers": headers}


async def test_after_ten_wrong_keys_of_an_address_the_next_ones_are_told_to_wait() -> None:
    now = 100.0
    wrong = WrongKeys(pause_s=0, clock=lambda: now)
    assert [await wrong.add(scope(), "x") for _ in range(10)] == [0.0] * 10
    assert await wrong.add(scope(), "x") == 60.0
    assert await wrong.add(scope("192.0.2.2"), "x") == 0.0
    now = 160.0
    assert await wrong.add(scope(), "x") == 0.0


async def test_wrong_keys_with_one_id_are_counted_over_all_addresses() -> None:
    wrong = WrongKeys(pause_s=0, clock=lambda: 0.0)
    waits = [await wrong.add(scope(f"192.0.2.{n}"), KEY.format("aaaaaaaa")) for n in range(11)]
    assert waits == [0.0] * 10 + [60.0]
    assert await wrong.add(scope("192.0.2.99"), KEY.format("cccccccc")) == 0.0


async def test_addresses_of_one_ipv6_host_are_counted_together() -> None:
    wrong = WrongKeys(pause_s=0, clock=lambda: 0.0)
    waits = [await wrong.add(scope(f"2001:db8::{n}"), "x") for n in range(1, 12)]
    assert waits[-1] == 60.0
    assert await wrong.add(scope("2001:db8:0:1::1"), "x") == 0.0


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.5", "198.51.100.7", "198.51.100.7"),
        # What a client writes itself comes first.
        ("10.0.0.5", "1.2.3.4, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.5", "198.51.100.7, 10.0.0.6", "198.51.100.7"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.5", None, "10.0.0.5"),
        ("10.0.0.5", "nonsense", "10.0.0.5"),
        ("10.0.0.5", "nonsense, 10.0.0.6", "10.0.0.6"),
        ("::ffff:10.0.0.5", "198.51.100.7", "198.51.100.7"),
    ],
)
def test_only_a_trusted_proxy_says_whose_request_it_is(peer: str, forwarded: str | None, client: str) -> None:
    assert client_of(scope(peer, forwarded), read_networks("10.0.0.0/24, 2001:db8::1")) == client


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="addresses or networks, separated by commas"):
        read_networks("proxy.example")


async def test_the_right_key_works_however_many_wrong_ones_came(service: Service) -> None:
    async with service.client() as client:
        refused = [await client.get("/v1/secret", headers={"authorization": "Bearer x"}) for _ in range(11)]
        assert [each.status_code for each in refused] == [401] * 10 + [429]
        assert refused[-1].json()["code"] == "too_many_wrong_keys"
        assert 0 < int(refused[-1].headers["retry-after"]) <= 60
        assert (await client.get("/v1/secret")).status_code == 200


async def test_one_wrong_key_too_many_is_answered_late() -> None:
    wrong, loop = WrongKeys(pause_s=0.05), asyncio.get_running_loop()
    for _ in range(10):
        await wrong.add(scope(), "x")
    began = loop.time()
    await wrong.add(scope(), "x")
    assert loop.time() - began >= 0.05
