"""The client for requests to addresses that documents, callers or other servers chose."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from typing import Final

import aiohttp
from aiohttp import http_exceptions

from flowyard.errors.outbound import (
    AnswerBroken,
    AnswerTooLarge,
    HostUnreachable,
    OutboundError,
    OutboundInvalid,
    OutboundTimeout,
)
from flowyard.outbound.addresses import special_kind
from flowyard.outbound.allowlist import PUBLIC_ONLY, Allowlist
from flowyard.outbound.broken_chunks import notify_readers
from flowyard.outbound.lost_answers import why_lost
from flowyard.outbound.proxies import proxy_fault, proxy_for, shown
from flowyard.outbound.requests import (
    OutboundAnswer,
    OutboundHead,
    OutboundRequest,
    after_redirect,
    check_request,
    is_redirect,
)
from flowyard.outbound.resolving import CheckedResolver, Lookup, system_lookup
from flowyard.outbound.urls import Destination, read_destination

_CONNECT_S: Final = 10.0
_MAX_CONNECTIONS: Final = 100
_MAX_HEADERS: Final = 100
_MAX_HEADER: Final = 8_190
"""Bytes of a header, and of the first line."""
_HEAD: Final = f"its head may have {_MAX_HEADERS} headers of {_MAX_HEADER:,} bytes"
_ENCODINGS: Final = "gzip, deflate"
"""What is accepted: in others, some bytes may stand for gigabytes, which are in memory before any limit sees them."""

notify_readers()


class OutboundClient:
    """Sends requests. Made by `open_outbound`."""

    def __init__(
        self,
        direct: aiohttp.ClientSession,
        by_proxy: aiohttp.ClientSession,
        resolver: CheckedResolver,
        environ: Mapping[str, str],
    ) -> None:
        self._direct = direct
        self._by_proxy = by_proxy
        self._resolver = resolver
        self._environ = environ

    async def send(self, request: OutboundRequest) -> OutboundAnswer:
        """The answer, whatever its status. Raises OutboundError."""
        check_request(request)
        target = read_destination(request.url)
        try:
            async with asyncio.timeout(request.total_s):
                return await self._follow(request, target)
        except TimeoutError as error:
            raise OutboundTimeout(host=target.host, seconds=request.total_s) from error

    @asynccontextmanager
    async def stream(self, request: OutboundRequest) -> AsyncIterator[tuple[OutboundHead, AsyncGenerator[bytes, None]]]:
        """The head of the answer, whatever its status, and its decoded body in parts. Raises OutboundError, also there.

        Nothing is followed. `total_s` counts until the head; `answer_limit` for the whole body.
        """
        check_request(request)
        target = read_destination(request.url)
        opened = AsyncExitStack()
        async with opened:
            try:
                async with asyncio.timeout(request.total_s):
                    proxy = await self._proxy_for(target)
                    response = await opened.enter_async_context(self._open(request, target, proxy))
            except TimeoutError as error:
                raise OutboundTimeout(host=target.host, seconds=request.total_s) from error
            yield OutboundHead(response.status, response.headers), _parts(response, request, target, proxy)

    async def _follow(self, request: OutboundRequest, target: Destination) -> OutboundAnswer:
        while True:
            proxy = await self._proxy_for(target)
            answer = await self._exchange(request, target, proxy)
            if not is_redirect(answer.status, answer.headers):
                return answer
            request, target = after_redirect(request, target, answer.status, answer.headers["Location"])

    async def _proxy_for(self, target: Destination) -> str | None:
        """The proxy for this request, or None. Raises AddressRefused for an address in the URL itself.

        With a proxy, the name is resolved here, too, and its addresses are checked. If this machine doesn't know the
        name, the proxy decides, because in such networks only the proxy knows names of the outside.
        """
        proxy = proxy_for(str(target.url), self._environ)
        if proxy is None:
            if target.address is not None:
                await self._resolver.addresses(target)
            return None
        if (fault := proxy_fault(proxy)) is not None:
            raise OutboundError(f"can't reach {target.host}: {fault}")
        try:
            addresses = await self._resolver.addresses(target)
        except HostUnreachable:
            return proxy
        # Addresses that aren't public, and are listed, are reached without the proxy.
        return None if any(special_kind(address) for address in addresses) else proxy

    async def _exchange(self, request: OutboundRequest, target: Destination, proxy: str | None) -> OutboundAnswer:
        async with self._open(request, target, proxy) as response:
            try:
                return await _read(response, request, target)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _failure(error, target, proxy) from error

    @asynccontextmanager
    async def _open(
        self, request: OutboundRequest, target: Destination, proxy: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._by_proxy if proxy else self._direct
        body = request.body
        try:
            response = await session.request(
                request.method,
                target.url,
                # Of a larger text that is no file, aiohttp warns.
                data=BytesIO(body) if body is not None and len(body) >= 1_000_000 else body,
                headers={"User-Agent": "Flowyard", **request.headers, "Accept-Encoding": _ENCODINGS},
                skip_auto_headers=["Content-Type"],
                allow_redirects=False,
                proxy=proxy,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error, target, proxy) from error
        async with response:
            if response.status == 407 and proxy:
                raise HostUnreachable(host=target.host, why=f"the proxy {shown(proxy)} answered 407")
            yield response


@asynccontextmanager
async def open_outbound(
    environ: Mapping[str, str],
    allow: Allowlist = PUBLIC_ONLY,
    *,
    lookup: Lookup = system_lookup,
    certificates: ssl.SSLContext | None = None,
) -> AsyncIterator[OutboundClient]:
    """Opens a client for any number of requests at a time.

    `environ`: names the proxies. `allow`: addresses that may be reached although they aren't public.
    `certificates`: whom to trust; None: whom this machine trusts.
    """
    if certificates is None:
        certificates = await asyncio.to_thread(ssl.create_default_context)
    resolver = CheckedResolver(allow, lookup)
    checked = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, ssl=certificates, limit=_MAX_CONNECTIONS)
    unchecked = aiohttp.TCPConnector(ssl=certificates, limit=_MAX_CONNECTIONS)
    async with _session(checked) as direct, _session(unchecked) as by_proxy:
        try:
            yield OutboundClient(direct, by_proxy, resolver, environ)
        finally:
            await resolver.close()


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        # Each request has a timeout for all of it.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=_MAX_HEADER,
        max_field_size=_MAX_HEADER,
        max_headers=_MAX_HEADERS,
    )


async def _read(response: aiohttp.ClientResponse, request: OutboundRequest, target: Destination) -> OutboundAnswer:
    body, limit = bytearray(), request.answer_limit
    while len(body) <= limit and (chunk := await response.content.readany()):
        body += chunk
    is_cut = len(body) > limit
    if is_cut:
        # The rest is not read, so that no other request can use the connection.
        response.close()
    if is_cut and not request.cut:
        raise AnswerTooLarge(host=target.host, why=f"its body has more than {limit:,} bytes")
    return OutboundAnswer(
        status=response.status, headers=response.headers, body=bytes(body[:limit]), is_cut=is_cut, url=str(target.url)
    )


async def _parts(
    response: aiohttp.ClientResponse, request: OutboundRequest, target: Destination, proxy: str | None
) -> AsyncGenerator[bytes, None]:
    left = request.answer_limit
    try:
        while chunk := await response.content.readany():
            left -= len(chunk)
            if left < 0:
                why = f"its body has more than {request.answer_limit:,} bytes"
                raise AnswerTooLarge(host=target.host, why=why)
            yield chunk
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failure(error, target, proxy) from error
    finally:
        # What isn't read keeps no connection; what is read completely has given it back.
        response.close()


def _failure(error: Exception, target: Destination, proxy: str | None) -> OutboundError:
    if isinstance(error, aiohttp.InvalidURL):
        return OutboundInvalid("its URL can't be used")
    chain = list(_chain(error))
    through = f", through the proxy {shown(proxy)}" if proxy else ""
    if isinstance(error, aiohttp.ServerTimeoutError):
        return HostUnreachable(host=target.host, why=f"no connection within {_CONNECT_S:g} s{through}")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        return HostUnreachable(host=target.host, why=f"{why_lost(chain)}{through}")
    if any(_is_long_head(each) for each in chain):
        return AnswerTooLarge(host=target.host, why=_HEAD)
    return AnswerBroken(host=target.host, why=f"{why_lost(chain)}{through}")


def _is_long_head(error: BaseException) -> bool:
    too_many = isinstance(error, http_exceptions.BadHttpMessage) and "Too many headers" in str(error)
    return too_many or isinstance(error, http_exceptions.LineTooLong)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
