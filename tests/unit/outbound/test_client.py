"""Requests that get an answer, or an error that says why there is none."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address

import pytest

from flowyard.errors.outbound import (
    AddressRefused,
    AnswerBroken,
    HostUnreachable,
    OutboundError,
    OutboundInvalid,
    OutboundTimeout,
)
from flowyard.outbound.allowlist import read_allowlist
from flowyard.outbound.client import open_outbound
from flowyard.outbound.requests import OutboundRequest
from flowyard.outbound.resolving import system_lookup
from support.outside import OK, Names, names, outside, trusting

LOOPBACK = read_allowlist("127.0.0.1")


def post(url: str, *, total_s: float = 10, body: bytes | None = b"{}", **headers: str) -> OutboundRequest:
    return OutboundRequest(method="POST", url=url, body=body, headers=headers, total_s=total_s)


async def test_a_request_arrives_as_it_was_given_and_its_answer_comes_back() -> None:
    async with outside(OK) as server, open_outbound({}, LOOPBACK, lookup=names(hooks=["127.0.0.1"])) as client:
        answer = await client.send(post(f"http://Hooks.example:{server.port}/a%2Fb?c=d#e", Authorization="Bearer k"))
    assert (answer.status, answer.body, answer.is_cut, answer.headers["content-length"]) == (200, b"hello", False, "5")
    lines = server.heads[0].split("\r\n")
    assert lines[0] == "POST /a%2Fb?c=d HTTP/1.1"
    assert {f"Host: hooks.example:{server.port}", "Authorization: Bearer k", "User-Agent: Flowyard"} <= set(lines)
    assert lines[-1] == "{}"
    assert "Content-Type" not in server.heads[0]


async def test_a_large_body_arrives_whole() -> None:
    body = b"0123456789" * 200_000
    async with outside(OK) as server, open_outbound({}, LOOPBACK) as client:
        assert (await client.send(post(f"http://127.0.0.1:{server.port}/", body=body))).status == 200
    assert server.heads[0].endswith("\r\n\r\n" + body.decode())


async def test_without_a_body_none_is_announced() -> None:
    async with outside(OK) as server, open_outbound({}, LOOPBACK) as client:
        await client.send(OutboundRequest(method="GET", url=f"http://127.0.0.1:{server.port}"))
    assert server.heads[0].startswith("GET / HTTP/1.1\r\n")
    assert "content-length" not in server.heads[0].lower()


async def test_tls_is_for_the_name_although_the_connection_goes_to_the_checked_address() -> None:
    lookup = names(pinned=["127.0.0.1"], other=["127.0.0.1"])
    async with (
        outside(OK, tls=True) as server,
        open_outbound({}, LOOPBACK, lookup=lookup, certificates=trusting()) as client,
    ):
        answer = await client.send(post(f"https://pinned.example:{server.port}/"))
        with pytest.raises(HostUnreachable, match=r"certificate is not valid for 'other\.example'"):
            await client.send(post(f"https://other.example:{server.port}/"))
    assert answer.status == 200
    assert server.names == ["pinned.example", "other.example"]
    assert f"Host: pinned.example:{server.port}" in server.heads[0]
    assert len(server.heads) == 1


async def test_the_machines_certificates_are_what_is_trusted_otherwise() -> None:
    async with (
        outside(OK, tls=True) as server,
        open_outbound({}, LOOPBACK, lookup=names(pinned=["127.0.0.1"])) as client,
    ):
        with pytest.raises(HostUnreachable, match="unable to get local issuer certificate"):
            await client.send(post(f"https://pinned.example:{server.port}/"))


async def test_a_name_that_is_bound_to_another_address_is_resolved_once_per_connection_and_checked_each_time() -> None:
    lookup = Names({"rebound.example": [["127.0.0.1"], ["127.0.0.2"]]})
    async with outside(OK) as server, open_outbound({}, LOOPBACK, lookup=lookup) as client:
        url = f"http://rebound.example:{server.port}/"
        assert (await client.send(post(url))).status == 200
        assert lookup.lookups == ["rebound.example"]
        with pytest.raises(AddressRefused, match=r"has the address 127\.0\.0\.2, which is a loopback address"):
            await client.send(post(url))
    assert len(server.heads) == 1


async def test_an_open_connection_is_used_again() -> None:
    keeps = OK.replace(b"Connection: close\r\n", b"")

    async with outside(keeps) as server, open_outbound({}, LOOPBACK, lookup=names(hooks=["127.0.0.1"])) as client:
        first = await client.send(post(f"http://hooks.example:{server.port}/"))
    assert first.status == 200
    assert server.connections == 1


async def test_all_addresses_of_a_name_are_tried() -> None:
    """At the first one nobody listens."""
    allow = read_allowlist("127.0.0.0/8")
    lookup = names(hooks=["127.0.0.9", "127.0.0.1"])
    async with outside(OK) as server, open_outbound({}, allow, lookup=lookup) as client:
        assert (await client.send(post(f"http://hooks.example:{server.port}/"))).status == 200


async def test_a_final_dot_is_kept_for_the_name_servers_only() -> None:
    lookup = names(hooks=["127.0.0.1"])
    async with outside(OK) as server, open_outbound({}, read_allowlist("hooks.example"), lookup=lookup) as client:
        assert (await client.send(post(f"http://hooks.example.:{server.port}/"))).status == 200
    assert lookup.lookups == ["hooks.example."]


def test_the_systems_resolver_knows_this_machine() -> None:
    assert {ip_address(text).is_loopback for text in system_lookup("localhost")} == {True}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "ended in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", "compression"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", "malformed|no HTTP|middle"),
    ],
)
async def test_an_answer_that_cant_be_read_is_an_error_of_the_server(answer: bytes, why: str) -> None:
    async with outside(answer) as server, open_outbound({}, LOOPBACK) as client:
        with pytest.raises(AnswerBroken, match=why):
            await client.send(post(f"http://127.0.0.1:{server.port}/"))


async def test_where_nobody_listens_nothing_was_sent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    async with open_outbound({}, LOOPBACK, lookup=names()) as client:
        with pytest.raises(HostUnreachable, match=r"can't reach 127\.0\.0\.1: .*[Cc]onnect"):
            await client.send(post(f"http://127.0.0.1:{port}/"))
        with pytest.raises(HostUnreachable, match=r"can't reach nowhere\.example: Name or service not known"):
            await client.send(post(f"http://nowhere.example:{port}/"))


async def test_name_servers_that_dont_answer_keep_few_threads_and_no_request_longer_than_its_time() -> None:
    go_on = threading.Event()
    waiting: list[str] = []

    def lookup(name: str) -> list[str]:
        waiting.append(name)
        assert go_on.wait(30)
        return ["127.0.0.1"]

    async with open_outbound({}, LOOPBACK, lookup=lookup) as client:
        for number in range(20):
            with pytest.raises(OutboundTimeout, match=r"didn't answer completely within 0\.02 s"):
                await client.send(post(f"http://slow{number}.example/", total_s=0.02))
        assert len(waiting) == 16
        go_on.set()


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({"Host": "other.example"}, "Host can't be chosen"),
        ({"transfer-encoding": "chunked"}, "can't be chosen"),
        ({"Content-Length": "3"}, "can't be chosen"),
        ({"Proxy-Authorization": "Basic secret"}, "can't be chosen"),
        ({"X-A": "secret\r\nX-B: c"}, "X-A contains a line break"),
        ({"X-A": "secret\0"}, "X-A contains"),
        ({"X-A": "secret\ud800"}, "X-A contains"),
        ({"X A": "secret"}, "characters that aren't allowed"),
        ({"": "secret"}, "characters that aren't allowed"),
    ],
)
async def test_headers_that_would_change_the_request_are_refused(headers: dict[str, str], fault: str) -> None:
    async with outside(OK) as server, open_outbound({}, LOOPBACK) as client:
        with pytest.raises(OutboundInvalid, match=fault) as refusal:
            await client.send(OutboundRequest(method="GET", url=f"http://127.0.0.1:{server.port}/", headers=headers))
    assert server.connections == 0
    assert "secret" not in refusal.value.message


async def test_methods_that_open_tunnels_are_refused() -> None:
    async with open_outbound({}, LOOPBACK) as client:
        with pytest.raises(OutboundInvalid, match="its method must be one of DELETE, GET"):
            await client.send(OutboundRequest(method="CONNECT", url="http://127.0.0.1/"))


async def test_the_world_is_reached_through_the_environments_proxy_and_only_it_connects() -> None:
    lookup = names(public=["93.184.216.34"])
    async with outside(OK) as proxy, open_outbound({"http_proxy": f"127.0.0.1:{proxy.port}"}, lookup=lookup) as client:
        assert (await client.send(post("http://public.example/a"))).status == 200
        # Only the proxy knows this name.
        assert (await client.send(post("http://unknown.example/b"))).status == 200
    assert [head.split(" HTTP")[0] for head in proxy.heads] == [
        "POST http://public.example/a",
        "POST http://unknown.example/b",
    ]
    assert lookup.lookups == ["public.example", "unknown.example"]


async def test_listed_addresses_are_reached_without_the_proxy() -> None:
    lookup = names(hooks=["127.0.0.1"])
    async with (
        outside(OK) as server,
        outside(OK) as proxy,
        open_outbound({"http_proxy": f"http://127.0.0.1:{proxy.port}"}, LOOPBACK, lookup=lookup) as client,
    ):
        for host in ("127.0.0.1", "hooks.example"):
            assert (await client.send(post(f"http://{host}:{server.port}/"))).status == 200
    assert (proxy.connections, server.connections) == (0, 2)


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("http://public.example/", b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
        ("https://public.example/", b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
        ("https://public.example/", b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_a_proxy_that_refuses_is_named_without_its_password(url: str, answer: bytes) -> None:
    async with outside(answer) as proxy:
        environ = {"all_proxy": f"http://user:secret@127.0.0.1:{proxy.port}"}
        async with open_outbound(environ, lookup=names(public=["93.184.216.34"])) as client:
            with pytest.raises(
                HostUnreachable, match=rf"the proxy .*(407|502)|proxy 127\.0\.0\.1:{proxy.port}"
            ) as failure:
                await client.send(post(url))
    assert "secret" not in failure.value.message


async def test_a_proxy_of_another_kind_is_an_error() -> None:
    async with open_outbound({"all_proxy": "socks5://127.0.0.1:1"}) as client:
        with pytest.raises(OutboundError, match="is no HTTP proxy"):
            await client.send(post("http://public.example/"))
