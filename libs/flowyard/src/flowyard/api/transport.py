"""Sends requests to Flowyard, repeats those that may be repeated, and decodes the responses."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

import httpx
from pydantic import BaseModel, SecretStr

from flowyard.api.pages import MOST, Page
from flowyard.api.refusals import TEMPORARY, Unintelligible, refusal, retry_after, unreachable
from flowyard.errors.requests import InvalidInputs

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
Query: TypeAlias = Mapping[str, Any]
"""Parameters. None is left out; a list becomes one parameter per item."""

PATIENCE_S: Final = 10.0
_TIMEOUT_S: Final = 30.0
_CONNECT_S: Final = 5.0
_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_NOT_REACHED: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class Transport:
    """Connections to one Flowyard. `url`: http or https, without a user. Use it in a `with` block, or `close` it.

    `patience_s`: for how many seconds a lost request is sent again.
    """

    def __init__(self, url: str, key: SecretStr, *, patience_s: float = PATIENCE_S) -> None:
        self.url = url.rstrip("/")
        self._patience_s = patience_s
        parsed = httpx.URL(self.url)
        self.http = httpx.Client(
            base_url=self.url,
            headers={
                "authorization": f"Bearer {key.get_secret_value()}",
                "user-agent": f"flowyard/{version('flowyard')}",
            },
            timeout=httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_S),
            # Reading the system's certificates takes 0.1 s. Without them a TLS connection would fail, not be unsafe.
            verify=True if parsed.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            # A server on this machine isn't behind the environment's proxy.
            trust_env=parsed.host not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    def get(self, kind: type[M], path: str, query: Query | None = None) -> M:
        return self.request(kind, "GET", path, query, repeatable=True)

    def value(self, path: str, query: Query) -> Any:
        """Any JSON value. Raises as `request`."""
        known = {name: value for name, value in query.items() if value is not None}
        response = self.send(self.http.build_request("GET", path, params=known), repeatable=True)
        if not response.is_success:
            raise refusal(self.url, response)
        try:
            return json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise Unintelligible(self.url, "it isn't JSON") from error

    def pages(self, kind: type[Page[T]], path: str, query: Query, *, most: int | None = None) -> Iterator[T]:
        """Up to `most` items, page by page; None: all. A `cursor` in the query is where the first page begins."""
        cursor, left = query.get("cursor"), most
        while left is None or left > 0:
            limit = MOST if left is None else min(left, MOST)
            page = self.get(kind, path, {**query, "cursor": cursor, "limit": limit})
            yield from page.items
            cursor = page.next_cursor
            left = None if left is None else left - len(page.items)
            if cursor is None:
                return

    def request(
        self,
        kind: type[M],
        method: str,
        path: str,
        query: Query | None = None,
        body: BaseModel | bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
        repeatable: bool = False,
    ) -> M:
        """The decoded response. `repeatable`: a lost request is sent again, although it may then arrive twice.

        Raises Unreachable, Unintelligible, Refused, InvalidInputs, InvalidDocument.
        """
        request = self.http.build_request(
            method,
            path,
            params={name: value for name, value in (query or {}).items() if value is not None},
            content=_as_json(body) if isinstance(body, BaseModel) else body,
            headers={
                **({"content-type": "application/json"} if isinstance(body, BaseModel) else {}),
                **(headers or {}),
            },
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
        )
        response = self.send(request, repeatable=repeatable)
        if not response.is_success:
            raise refusal(self.url, response)
        return self.decode(kind, response.content)

    def decode(self, kind: type[M], text: str | bytes) -> M:
        """Raises Unintelligible."""
        try:
            # Not pydantic's JSON parser, which refuses half a surrogate pair: a model's reply may contain one.
            return kind.model_validate(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise Unintelligible(self.url, f"it isn't the JSON of {kind.__name__}") from error

    def send(self, request: httpx.Request, *, repeatable: bool) -> httpx.Response:
        """The response, whatever its status; the last one if the request was repeated. Raises Unreachable."""
        until, pause = time.monotonic() + self._patience_s, _PAUSE_S
        was_reached = False
        while True:
            wait, response, failure = pause, None, None
            try:
                response = self.http.send(request)
            except httpx.TransportError as error:
                failure = unreachable(self.url, error)
                was_reached |= not isinstance(error, _NOT_REACHED)
            else:
                was_reached = True
                wait = max(pause, retry_after(response) or 0.0)
            is_over = not repeatable or not was_reached or time.monotonic() + wait > until
            if response is not None and (is_over or response.status_code not in TEMPORARY):
                return response
            if failure is not None and is_over:
                raise failure
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _as_json(body: BaseModel) -> bytes:
    """JSON in ASCII, because UTF-8 can't encode half a surrogate pair. Raises InvalidInputs for what isn't JSON."""
    try:
        return json.dumps(body.model_dump(by_alias=True), allow_nan=False, default=str).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInputs(["NaN, infinity and endless nesting can't be sent: JSON has none of them"]) from error
