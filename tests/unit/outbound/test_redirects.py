"""Redirects are refused, or followed with each address checked and no secret given to another origin."""

from __future__ import annotations

import pytest

from flowyard.errors.outbound import OutboundTimeout, RedirectRefused
from flowyard.outbound.allowlist import read_allowlist
from flowyard.outbound.client import open_outbound
from flowyard.outbound.requests import OutboundRequest
from support.outside import OK, names, outside, redirect

EMPTY = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
LOOPBACK = read_allowlist("127.0.0.1")
NAMES = names(first=["127.0.0.1"], second=["127.0.0.1"])
HEADERS = {"Authorization": "Bearer k", "X-Api-Key": "k", "Cookie": "k", "Accept": "text/plain"}


def request_to(url: str, *, method: str = "GET", body: bytes | None = None, redirects: int = 5) -> OutboundRequest:
    return OutboundRequest(method=method, url=url, headers=HEADERS, body=body, redirects=redirects, total_s=10)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_by_default_a_redirect_is_an_error(status: int) -> None:
    async with (
        outside(redirect("/elsewhere?token=secret", status), OK) as server,
        open_outbound({}, LOOPBACK) as client,
    ):
        with pytest.raises(RedirectRefused, match=f"answered {status}, a redirect: it isn't followed") as refusal:
            await client.send(request_to(f"http://127.0.0.1:{server.port}/", redirects=0))
    assert len(server.heads) == 1
    assert "secret" not in refusal.value.message


async def test_an_answer_without_a_location_is_no_redirect() -> None:
    answer = b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"
    async with outside(answer) as server, open_outbound({}, LOOPBACK) as client:
        assert (await client.send(request_to(f"http://127.0.0.1:{server.port}/", redirects=0))).status == 304


async def test_the_same_origin_gets_the_whole_request_again() -> None:
    async with outside(redirect("../b?c=d", 307), OK) as server, open_outbound({}, LOOPBACK) as client:
        url = f"http://127.0.0.1:{server.port}"
        answer = await client.send(request_to(f"{url}/x/a", method="POST", body=b"{}"))
    assert answer.url == f"{url}/b?c=d"
    assert server.heads[1].startswith("POST /b?c=d ")
    assert server.heads[1].endswith("{}")
    assert "X-Api-Key: k" in server.heads[1]


@pytest.mark.parametrize("host", ["second.example", "first.example", "127.0.0.1"])
async def test_another_origin_gets_no_header_that_may_be_secret(host: str) -> None:
    """The port is another in any case."""
    async with (
        outside(OK) as other,
        outside(redirect(f"http://{host}:{other.port}/")) as server,
        open_outbound({}, LOOPBACK, lookup=NAMES) as client,
    ):
        answer = await client.send(request_to(f"http://first.example:{server.port}/"))
    assert answer.status == 200
    assert "Accept: text/plain" in other.heads[0]
    for name in ("Authorization", "X-Api-Key", "Cookie"):
        assert name in server.heads[0]
        assert name not in other.heads[0]


async def test_another_name_is_another_origin_at_the_same_port() -> None:
    async with (
        outside(redirect("http://second.example:PORT/"), OK) as server,
        open_outbound({}, LOOPBACK, lookup=NAMES) as client,
    ):
        await client.send(request_to(f"http://first.example:{server.port}/"))
    assert "X-Api-Key" in server.heads[0]
    assert "X-Api-Key" not in server.heads[1]


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
        (302, "PUT", "PUT"),
        (302, "HEAD", "HEAD"),
    ],
)
async def test_the_method_changes_as_the_standard_says(status: int, method: str, becomes: str) -> None:
    """Fetch, HTTP-redirect fetch, step 12: https://fetch.spec.whatwg.org/#http-redirect-fetch"""
    body = None if method == "HEAD" else b"{}"
    async with outside(redirect("/b", status), EMPTY) as server, open_outbound({}, LOOPBACK) as client:
        await client.send(request_to(f"http://127.0.0.1:{server.port}/", method=method, body=body))
    assert server.heads[1].startswith(f"{becomes} /b ")
    assert server.heads[1].endswith("{}") is (becomes == method and body is not None)


async def test_no_body_goes_to_another_origin() -> None:
    async with (
        outside(OK) as other,
        outside(redirect(f"http://second.example:{other.port}/", 307)) as server,
        open_outbound({}, LOOPBACK, lookup=NAMES) as client,
    ):
        with pytest.raises(RedirectRefused, match=r"the body isn't sent to another origin, second\.example"):
            await client.send(request_to(f"http://first.example:{server.port}/", method="POST", body=b"{}"))
    assert other.connections == 0


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1\\@second.example/",
        "http://[::1",
        "//:0/",
    ],
)
async def test_a_location_that_cant_be_read_is_refused(location: str) -> None:
    async with outside(redirect(location)) as server, open_outbound({}, LOOPBACK) as client:
        with pytest.raises(RedirectRefused, match="its address can't be used") as refusal:
            await client.send(request_to(f"http://127.0.0.1:{server.port}/"))
    assert "secret" not in refusal.value.message


async def test_a_circle_ends() -> None:
    async with outside(redirect("/")) as server, open_outbound({}, LOOPBACK) as client:
        with pytest.raises(RedirectRefused, match="it isn't followed"):
            await client.send(request_to(f"http://127.0.0.1:{server.port}/", redirects=3))
    assert len(server.heads) == 4


async def test_all_redirects_together_have_the_time_of_one_request() -> None:
    async with outside(redirect("/")) as server, open_outbound({}, LOOPBACK) as client:
        request = OutboundRequest(
            method="GET", url=f"http://127.0.0.1:{server.port}/", redirects=1_000_000, total_s=0.5
        )
        with pytest.raises(OutboundTimeout):
            await client.send(request)
