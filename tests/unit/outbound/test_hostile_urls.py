"""URLs that lead to addresses which aren't public: each goes the whole way of a request, and none gets there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from flowyard.errors.outbound import AddressRefused, OutboundInvalid
from flowyard.outbound.allowlist import read_allowlist
from flowyard.outbound.client import OutboundClient, open_outbound
from flowyard.outbound.requests import OutboundRequest
from support.outside import OK, Names, outside, redirect, trusting

_FILE: Final = Path(__file__).resolve().parents[2] / "data" / "hostile_urls.yaml"
_DATA: Final[dict[str, Any]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
REFUSED: Final = [(url, kind) for kind, urls in _DATA["refused"].items() for url in urls]
TRUSTED: Final = trusting()
INVALID: Final[list[str]] = _DATA["invalid"]


def names() -> Names:
    return Names({name: [addresses] for name, addresses in _DATA["names"].items()})


async def send(client: OutboundClient, url: str, *, redirects: int = 0) -> int:
    return (await client.send(OutboundRequest(method="GET", url=url, redirects=redirects, total_s=10))).status


def test_there_are_enough_of_them() -> None:
    assert len(set(REFUSED)) >= 120
    assert len(set(INVALID)) >= 50


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:PORT"])
@pytest.mark.parametrize(("url", "kind"), REFUSED)
async def test_a_host_without_a_public_address_gets_no_connection(url: str, kind: str, proxy: str | None) -> None:
    async with outside(OK) as server:
        environ = {"ALL_PROXY": proxy.replace("PORT", str(server.port))} if proxy else {}
        async with open_outbound(environ, lookup=names(), certificates=TRUSTED) as client:
            with pytest.raises(AddressRefused, match=kind) as refusal:
                await send(client, url.replace("PORT", str(server.port)))
    assert server.connections == 0
    assert "FLOWYARD_OUTBOUND_ALLOW" in refusal.value.message


@pytest.mark.parametrize("url", INVALID)
async def test_a_url_that_programs_read_differently_is_refused_without_being_repeated(url: str) -> None:
    async with outside(OK) as server, open_outbound({}, lookup=names(), certificates=TRUSTED) as client:
        with pytest.raises(OutboundInvalid) as refusal:
            await send(client, url.replace("PORT", str(server.port)))
    assert server.connections == 0
    assert "secret" not in refusal.value.message
    assert "127.0.0.1" not in refusal.value.message


@pytest.mark.parametrize(("url", "kind"), REFUSED)
async def test_no_redirect_leads_there(url: str, kind: str) -> None:
    async with outside(OK) as server:
        answers = Names({**names().answers, "first.example": [["127.0.0.3"]]})
        async with (
            outside(redirect(url.replace("PORT", str(server.port))), host="127.0.0.3") as first,
            open_outbound({}, read_allowlist("first.example"), lookup=answers, certificates=TRUSTED) as client,
        ):
            with pytest.raises(AddressRefused, match=kind):
                await send(client, f"http://first.example:{first.port}/", redirects=3)
    assert (len(first.heads), server.connections) == (1, 0)


_LOOPBACK: Final = [
    url for url, kind in REFUSED if kind == "loopback" and "127.0.0.1" in url and url.startswith("http:")
]


@pytest.mark.parametrize("url", [url for url in _LOOPBACK if "PORT" in url and "[" not in url])
async def test_the_same_url_reaches_the_server_once_its_address_is_listed(url: str) -> None:
    async with (
        outside(OK) as server,
        open_outbound({}, read_allowlist("127.0.0.0/8"), lookup=names(), certificates=TRUSTED) as client,
    ):
        assert await send(client, url.replace("PORT", str(server.port))) == 200
    assert server.connections == 1
