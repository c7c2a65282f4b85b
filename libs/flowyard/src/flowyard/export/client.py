"""HTTP requests to export targets. Their addresses come from settings only; each request has a short timeout."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx

from flowyard.errors.base import FlowyardError
from flowyard.secrets.masking import Masker

_CONNECT_S: Final = 3.0
_MAX_READ: Final = 10_000
_MAX_EXCERPT: Final = 300
_LONGEST_PAUSE_S: Final = 300.0
# Client errors whose cause isn't the run, but a key, a path, a proxy, or too many requests.
_ABOUT_THE_TARGET: Final = frozenset({401, 402, 403, 404, 405, 407, 408, 421, 423, 425, 426, 429})


class TargetUnavailable(FlowyardError, code="target_away", title="Export target unreachable"):
    """A target accepts no runs at the moment. `reason`: `unreachable`, `timeout` or `unavailable`.

    `nothing_sent`: the target can't have received anything of the run. `retry_after`: seconds, or None.
    """

    def __init__(
        self, target: str, why: str, *, reason: str, nothing_sent: bool, retry_after: float | None = None
    ) -> None:
        self.target = target
        self.why = why
        self.reason = reason
        self.nothing_sent = nothing_sent
        self.retry_after = retry_after
        super().__init__(f"{target} is not accepting runs: {why}")

    def after_sending(self) -> TargetUnavailable:
        """The same error for a run of which an earlier request was successful."""
        return TargetUnavailable(
            self.target, self.why, reason=self.reason, nothing_sent=False, retry_after=self.retry_after
        )


class ExportRefused(FlowyardError, code="export_refused", title="An export target refused a run"):
    """A target refused this run. Other runs may still be accepted."""

    def __init__(self, target: str, why: str) -> None:
        super().__init__(f"{target} refused a run: {why}")


class ExportClient:
    """Requests to one target. `name`: its name in metrics and logs. `secrets`: masked in what it answers."""

    def __init__(self, name: str, client: httpx.AsyncClient, *, timeout_s: float, secrets: Iterable[str]) -> None:
        self.name = name
        self._client = client
        self._timeout_s = timeout_s
        self._masker = Masker(secrets)

    async def post(self, address: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """A successful response. Raises TargetUnavailable, ExportRefused."""
        response = await self.send("POST", address, content, headers)
        if response.is_success:
            return response
        raise self.error_for(response)

    async def send(
        self, method: str, address: str, content: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Any response, errors included. Raises TargetUnavailable."""
        try:
            # A timeout for the whole request: those of httpx are for each piece.
            async with asyncio.timeout(self._timeout_s):
                return await self._client.request(method, address, content=content, headers=headers)
        except (TimeoutError, httpx.TimeoutException) as error:
            sent = not isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            why, reason = "it doesn't respond", "timeout"
            raise TargetUnavailable(self.name, why, reason=reason, nothing_sent=not sent) from error
        except httpx.HTTPError as error:
            sent = not isinstance(error, httpx.ConnectError)
            why, reason = str(error) or type(error).__name__, "unreachable"
            raise TargetUnavailable(self.name, why, reason=reason, nothing_sent=not sent) from error

    def error_for(self, response: httpx.Response) -> TargetUnavailable | ExportRefused:
        """The error for a response with an error status."""
        why = f"{response.status_code} {self.excerpt(response.text)}".strip()
        if response.is_client_error and response.status_code not in _ABOUT_THE_TARGET:
            return ExportRefused(self.name, why)
        retry_after = _pause(response.headers.get("retry-after"))
        return TargetUnavailable(self.name, why, reason="unavailable", nothing_sent=False, retry_after=retry_after)

    def excerpt(self, text: str) -> str:
        """The beginning of a response's text, for logs, with secrets masked."""
        return self._masker.text(text[:_MAX_READ])[:_MAX_EXCERPT]

    def wrong_server(self) -> TargetUnavailable:
        """The error for a successful response in another format than the target's."""
        why = "another kind of server answers at its address"
        return TargetUnavailable(self.name, why, reason="unavailable", nothing_sent=False)


@asynccontextmanager
async def open_client(name: str, *, timeout_s: float, secrets: Iterable[str] = ()) -> AsyncIterator[ExportClient]:
    """Opens a client without the environment's proxies and passwords, with the machine's trusted certificates."""
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
    certificates = await asyncio.to_thread(ssl.create_default_context)
    async with httpx.AsyncClient(timeout=timeout, trust_env=False, verify=certificates) as client:
        yield ExportClient(name, client, timeout_s=timeout_s, secrets=secrets)


def _pause(retry_after: str | None) -> float | None:
    """Seconds from Retry-After, bounded. None for a missing header, or a date, which these targets don't send."""
    try:
        return min(_LONGEST_PAUSE_S, max(0.0, float(retry_after))) if retry_after else None
    except ValueError:
        return None
