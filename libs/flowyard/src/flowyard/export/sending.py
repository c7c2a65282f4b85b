"""HTTP to the systems that are told of runs. Addresses come from settings alone; no answer is waited for long."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx

from flowyard.errors import ExportRefused, TargetAway
from flowyard.masking import Masker

_CONNECT_S: Final = 3.0
_MOST_READ: Final = 10_000
_MOST_SHOWN: Final = 300
_LONGEST_PAUSE_S: Final = 300.0
# Not this run's fault: a key, a path, a proxy, too many requests.
_OF_THE_TARGET: Final = frozenset({401, 402, 403, 404, 405, 407, 408, 421, 423, 425, 426, 429})


class Door:
    """One system. `name`: as metrics and logs call it. `secrets`: what it is sent and may repeat."""

    def __init__(self, name: str, client: httpx.AsyncClient, *, timeout_s: float, secrets: Iterable[str]) -> None:
        self.name = name
        self._client = client
        self._timeout_s = timeout_s
        self._masker = Masker(secrets)

    async def post(self, address: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Raises TargetAway, ExportRefused."""
        return await self.ask("POST", address, content=content, headers=headers)

    async def ask(
        self, method: str, address: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """An answer that says yes. Raises TargetAway, ExportRefused."""
        answer = await self.answer(method, address, content=content, headers=headers)
        if answer.is_success:
            return answer
        raise self.trouble(answer)

    async def answer(
        self, method: str, address: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Any answer. Raises TargetAway."""
        try:
            # All of it: httpx limits the wait for each piece.
            async with asyncio.timeout(self._timeout_s):
                return await self._client.request(method, address, content=content, headers=headers)
        except (TimeoutError, httpx.TimeoutException) as error:
            never_met = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            raise TargetAway(self.name, "it doesn't answer", reason="timeout", untouched=never_met) from error
        except httpx.HTTPError as error:
            never_met = isinstance(error, httpx.ConnectError)
            why = str(error) or type(error).__name__
            raise TargetAway(self.name, why, reason="unreachable", untouched=never_met) from error

    def trouble(self, answer: httpx.Response) -> TargetAway | ExportRefused:
        """What an answer that says no means."""
        why = f"{answer.status_code} {self.shown(answer.text)}".strip()
        if answer.is_client_error and answer.status_code not in _OF_THE_TARGET:
            return ExportRefused(self.name, why)
        return TargetAway(
            self.name, why, reason="unavailable", untouched=False, retry_after=_pause(answer.headers.get("retry-after"))
        )

    def shown(self, text: str) -> str:
        """What it says, for logs: not all of it, and none of what it was told in confidence."""
        return self._masker.text(text[:_MOST_READ])[:_MOST_SHOWN]

    def stranger(self) -> TargetAway:
        """It says yes, and not in the words that were asked for."""
        why = "what answers there is something else"
        return TargetAway(self.name, why, reason="unavailable", untouched=False)


@asynccontextmanager
async def open_door(name: str, *, timeout_s: float, secrets: Iterable[str] = ()) -> AsyncIterator[Door]:
    """Without proxies and passwords from the environment; with the certificates that the machine trusts."""
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
    certificates = await asyncio.to_thread(ssl.create_default_context)
    async with httpx.AsyncClient(timeout=timeout, trust_env=False, verify=certificates) as client:
        yield Door(name, client, timeout_s=timeout_s, secrets=secrets)


def _pause(retry_after: str | None) -> float | None:
    """Only seconds: nobody sends us the other form."""
    try:
        return min(_LONGEST_PAUSE_S, max(0.0, float(retry_after))) if retry_after else None
    except ValueError:
        return None
