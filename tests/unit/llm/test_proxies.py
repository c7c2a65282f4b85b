"""Which calls go through the environment's proxies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from flowyard.errors.steps import ModelError, ModelNeverRan, ModelRefused, ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, OnToken
from flowyard.llm.models import open_models
from flowyard.outbound.proxies import credentials, proxy_for
from support.wire.behaviour import Status, Text
from support.wire.openai import openai_server
from support.wire.providers import ANTHROPIC, ENVIRON, KEY, LITELLM, OPENAI, Provider
from support.wire.server import WireServer

PROXY = "http://proxy:3128"
STREAMED = pytest.mark.parametrize("on_token", [None, lambda token: None], ids=["whole", "streamed"])


def call_of(provider: Provider, server: WireServer, host: str) -> ModelCall:
    """A call to this host, at the port and path of the server."""
    settings = provider.settings(server, api_base=server.url.replace("127.0.0.1", host), timeout=5)
    return ModelCall("write", settings, (ChatMessage("user", "Hello?"),))


def through(monkeypatch: pytest.MonkeyPatch, proxy: str) -> Mapping[str, str]:
    """LiteLLM reads the environment of the process, direct calls the one that they are given."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    return {**ENVIRON, "HTTP_PROXY": proxy}


@STREAMED
async def test_a_call_to_the_world_goes_through_the_proxy(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, on_token: OnToken | None
) -> None:
    async with provider.serve([Text("by the proxy")]) as proxy:
        environ = through(monkeypatch, proxy.url.removesuffix("/v1"))
        async with open_models(environ, litellm=LITELLM) as models:
            reply = await models.reply(call_of(provider, proxy, "models.example.com"), on_token)
    assert reply.text == "by the proxy"
    assert proxy.requests[0].headers["host"].startswith("models.example.com")


@STREAMED
async def test_a_call_to_this_machine_never_does(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, on_token: OnToken | None
) -> None:
    async with provider.serve([Text("by itself")]) as server, openai_server([Text("by the proxy")]) as proxy:
        environ = through(monkeypatch, proxy.url.removesuffix("/v1"))
        async with open_models(environ, litellm=LITELLM) as models:
            for host in ("127.0.0.1", "localhost"):
                assert (await models.reply(call_of(provider, server, host), on_token)).text == "by itself"
    assert proxy.requests == []


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host of example.com is on this machine."""
    resolve = socket.getaddrinfo

    def resolved(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name and name.endswith("example.com") else name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@STREAMED
@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(("variable", "exempt"), [("NO_PROXY", "elsewhere.org, .example.com"), ("no_proxy", "*")])
async def test_a_call_to_a_host_in_no_proxy_never_does(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, variable: str, exempt: str, on_token: OnToken | None
) -> None:
    monkeypatch.setenv(variable, exempt)
    async with provider.serve([Text("by itself")]) as server, openai_server([Text("by the proxy")]) as proxy:
        environ = {**through(monkeypatch, proxy.url.removesuffix("/v1")), variable: exempt}
        async with open_models(environ, litellm=LITELLM) as models:
            reply = await models.reply(call_of(provider, server, "models.example.com"), on_token)
    assert (reply.text, proxy.requests) == ("by itself", [])


@STREAMED
@pytest.mark.usefixtures("names")
async def test_a_call_to_a_host_that_no_proxy_doesnt_name_goes_through_it(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, on_token: OnToken | None
) -> None:
    monkeypatch.setenv("NO_PROXY", "other.example.com,example.org")
    async with provider.serve([Text("by itself")]) as server, provider.serve([Text("by the proxy")]) as proxy:
        environ = {**through(monkeypatch, proxy.url.removesuffix("/v1")), "NO_PROXY": "other.example.com,example.org"}
        async with open_models(environ, litellm=LITELLM) as models:
            reply = await models.reply(call_of(provider, server, "models.example.com"), on_token)
    assert (reply.text, server.requests) == ("by the proxy", [])


@STREAMED
async def test_of_a_secure_call_a_proxy_sees_nothing_but_the_host(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, on_token: OnToken | None
) -> None:
    heads: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as listening:
        proxy = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        address = "https://models.example.com/v1"
        settings = ModelSettings(provider.name, provider.model, api_base=address, timeout=5, **provider.needed)
        async with open_models({**ENVIRON, "HTTPS_PROXY": proxy}, litellm=LITELLM) as models:
            with pytest.raises(ProviderError, match=r"through the proxy 127\.0\.0\.1:"):
                await models.reply(ModelCall("write", settings, (ChatMessage("user", "Hello?"),)), on_token)
    assert heads[0].startswith(b"CONNECT models.example.com:443 HTTP/1.1\r\n")
    assert KEY.encode() not in heads[0]


async def test_a_proxy_that_is_away_is_named_without_its_password() -> None:
    environ = {**ENVIRON, "https_proxy": "http://somebody:password@127.0.0.1:9"}
    async with open_models(environ) as models:
        with pytest.raises(ModelNeverRan, match=r"through the proxy 127\.0\.0\.1:9 ") as caught:
            await models.reply(ModelCall("write", ModelSettings(OPENAI.name, "m"), (ChatMessage("user", "Hello?"),)))
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC], ids=lambda provider: provider.name)
async def test_a_proxy_that_refuses_its_password_does_not_show_it(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        proxy = f"http://somebody:password-of-it@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        settings = ModelSettings(provider.name, "m", api_base="https://models.example.com", timeout=5)
        async with open_models({**ENVIRON, "HTTPS_PROXY": proxy}, litellm=LITELLM) as models:
            with pytest.raises(ModelError) as caught:
                await models.reply(ModelCall("write", settings, (ChatMessage("user", "Hello?"),)))
    assert "password" not in str(caught.value)
    assert "407" in str(caught.value)


@STREAMED
async def test_a_proxy_that_refuses_a_plain_call_is_told_as_the_proxy(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, on_token: OnToken | None
) -> None:
    async with provider.serve([Status(407)]) as proxy:
        environ = through(monkeypatch, proxy.url.removesuffix("/v1"))
        async with open_models(environ, litellm=LITELLM) as models:
            with pytest.raises(ModelRefused) as caught:
                await models.reply(call_of(provider, proxy, "models.example.com"), on_token)
    address = proxy.url.removesuffix("/v1").removeprefix("http://")
    assert f"the proxy {address} wants other credentials (407)" in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_away_is_named_on_every_transport(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", "http://127.0.0.1:9")
    environ = {**ENVIRON, f"{scheme.upper()}_PROXY": "http://127.0.0.1:9"}
    settings = ModelSettings(
        provider.name, provider.model, api_base=f"{scheme}://models.example.com", timeout=30, **provider.needed
    )
    async with open_models(environ, litellm=LITELLM) as models:
        with pytest.raises(
            ModelNeverRan, match=r"can't connect to .*models\.example\.com.* through the proxy 127\.0\.0\.1:9 "
        ):
            await models.reply(ModelCall("write", settings, (ChatMessage("user", "Hello?"),)))


async def test_a_proxy_of_another_kind_is_refused(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = "socks5://somebody:password@127.0.0.1:9"
    monkeypatch.setenv("ALL_PROXY", proxy)
    environ = {**ENVIRON, "ALL_PROXY": proxy}
    async with provider.serve([Text("hi")]) as server, open_models(environ, litellm=LITELLM) as models:
        with pytest.raises(ModelRefused, match=r"proxy socks5://127\.0\.0\.1:9 is no HTTP proxy") as caught:
            await models.reply(call_of(provider, server, "models.example.com"))
        assert (await models.reply(call_of(provider, server, "127.0.0.1"))).text == "hi"
    assert "password" not in str(caught.value)


@STREAMED
@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://somebody:password@host:abc", "host:abc"),
        ("http://somebody:password@[::1", "[::1"),
        ("http://host:99999", "host:99999"),
        ("http://:3128", ":3128"),
        ("proxy host:3128", "proxy host:3128"),
        ("http://", "http://"),
    ],
)
async def test_a_proxy_that_is_no_address_is_told_and_hinders_no_call_to_this_machine(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, proxy: str, shown: str, on_token: OnToken | None
) -> None:
    environ = through(monkeypatch, proxy)
    async with provider.serve([Text("hi")]) as server, open_models(environ, litellm=LITELLM) as models:
        with pytest.raises(ModelRefused) as caught:
            await models.reply(call_of(provider, server, "models.example.com"), on_token)
        assert (await models.reply(call_of(provider, server, "127.0.0.1"), on_token)).text == "hi"
    assert f"the environment's proxy {shown} is no address: correct the variable" in caught.value.detail
    assert "password" not in caught.value.detail


def test_white_space_around_a_proxy_is_dropped() -> None:
    assert proxy_for("https://api.openai.com/v1", {"HTTPS_PROXY": f" {PROXY}\n", "https_proxy": " "}) == PROXY


@pytest.mark.parametrize(
    "proxy", ["http://somebody:p@ssword@host:1/x", "somebody:p@ssword@host:1", "http://somebody:p@ssword@[::1"]
)
def test_user_and_password_of_a_proxy_are_known_as_secrets(proxy: str) -> None:
    assert credentials(proxy) == {"somebody", "p@ssword"}


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://api.openai.com/v1", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://api.openai.com/v1", {"https_proxy": "proxy:3128"}, PROXY),
        ("https://api.openai.com/v1", {"all_proxy": PROXY}, PROXY),
        ("https://api.openai.com/v1", {"HTTP_PROXY": PROXY}, None),
        ("https://api.openai.com/v1", {"HTTPS_PROXY": PROXY, "NO_PROXY": "example.com,.openai.com"}, None),
        ("https://api.openai.com/v1", {"HTTPS_PROXY": PROXY, "no_proxy": "*"}, None),
        ("https://8.8.8.8/v1", {"HTTPS_PROXY": PROXY}, PROXY),
        *(
            (f"http://{host}:8000/v1", {"HTTP_PROXY": PROXY}, None)
            for host in (
                "127.0.0.1", "127.8.8.8", "[::1]", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "[fd00::1]",
                "localhost", "ollama", "host.docker.internal", "gpu.local", "a.localhost",
            )
        ),
        ("http://[::1", {"HTTP_PROXY": PROXY}, None),
    ],
)  # fmt: skip
def test_private_addresses_are_reached_without_a_proxy(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(url, environ) == proxy
