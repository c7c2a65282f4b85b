"""Requests to a Flowyard: sent, sent again where that does no harm, and their answers read."""

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
from flowyard.api.refusals import AWAY, Unintelligible, refusal, retry_after, unreachable
from flowyard.errors.requests import InvalidInputs

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
Query: TypeAlias = Mapping[str, Any]
"""None is left out; a list stands for its name several times."""

PATIENCE_S: Final = 10.0
_TIMEOUT_S: Final = 30.0
_CONNECT_S: Final = 5.0
_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_NOT_REACHED: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class Transport:
    """Connections to one Flowyard. `url`: http or https, without a user. A block, or `close` it."""

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
            # The system's certificates take 0.1 s to be read. Without any, TLS would fail rather than be unsafe.
            verify=True if parsed.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            # What runs on this machine isn't behind the environment's proxy.
            trust_env=parsed.host not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    def get(self, kind: type[M], path: str, query: Query | None = None) -> M:
        return self.request(kind, "GET", path, query, again=True)

    def pages(self, kind: type[Page[T]], path: str, query: Query, *, most: int | None = None) -> Iterator[T]:
        """The items of as many pages as are wanted; `most` None: of all. A `cursor` in the query is where to begin."""
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
        again: bool = False,
    ) -> M:
        """The answer. `again`: the request may come twice, so it is sent again, for `patience_s`, if it gets lost.

        Raises Unreachable, Unintelligible, Refused; InvalidInputs and InvalidDocument with what is wrong in them.
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
        response = self.send(request, again=again)
        if not response.is_success:
            raise refusal(self.url, response)
        return self.read(kind, response.content)

    def read(self, kind: type[M], text: str | bytes) -> M:
        """Raises Unintelligible."""
        try:
            # Not pydantic's own reader: a model may have replied half a surrogate pair, which that one refuses.
            return kind.model_validate(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise Unintelligible(self.url, f"it isn't the JSON of {kind.__name__}") from error

    def send(self, request: httpx.Request, *, again: bool) -> httpx.Response:
        """The answer, whatever it is; the last one, if it was sent several times. Raises Unreachable."""
        until, pause = time.monotonic() + self._patience_s, _PAUSE_S
        was_there = False
        while True:
            wait, response, failure = pause, None, None
            try:
                response = self.http.send(request)
            except httpx.TransportError as error:
                failure = unreachable(self.url, error)
                was_there |= not isinstance(error, _NOT_REACHED)
            else:
                was_there = True
                wait = max(pause, retry_after(response) or 0.0)
            is_over = not again or not was_there or time.monotonic() + wait > until
            if response is not None and (is_over or response.status_code not in AWAY):
                return response
            if failure is not None and is_over:
                raise failure
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _as_json(body: BaseModel) -> bytes:
    """In ASCII, for UTF-8 has no halves of surrogate pairs. Raises InvalidInputs for what isn't JSON."""
    try:
        return json.dumps(body.model_dump(by_alias=True), allow_nan=False, default=str).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInputs(["NaN, infinity, or a nesting without end can't be sent: JSON has none of them"]) from error
