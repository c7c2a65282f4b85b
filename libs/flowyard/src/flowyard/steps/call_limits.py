"""Limits on how many model calls are made at a time, and how fast: a call waits for its permit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from flowyard.llm.calls import ModelCall, Usage

OnWait: TypeAlias = Callable[[str, bool], None]
"""Is called once if the wait is a noticeable one, with the name of the limit, and whether a 429 has slowed it down."""


class Permit(Protocol):
    """Permits one call."""

    def slow_down(self, retry_after: float | None) -> None:
        """The provider answered 429: others shall wait, too."""

    def settle(self, usage: Usage) -> None:
        """The end of the call, also of one that was never made."""


class CallLimits(Protocol):
    """The limits for the calls of one run."""

    def permit_at_once(self, call: ModelCall) -> Permit | None:
        """The permit of a call that nothing limits; None: it has to be waited for, perhaps for no time."""

    async def permit(self, call: ModelCall, *, begun: bool, on_wait: OnWait) -> Permit:
        """Waits until the call may be made. `begun`: its step has made calls before, and is finished in a drain, too.

        Raises Draining.
        """


class LocalLimits:
    """Keeps the `concurrency` of a run's models within this process. It knows no other limits."""

    def __init__(self) -> None:
        self._places: dict[str, asyncio.Semaphore] = {}

    def permit_at_once(self, call: ModelCall) -> Permit | None:
        return _UNLIMITED if call.settings.concurrency is None else None

    async def permit(self, call: ModelCall, *, begun: bool, on_wait: OnWait) -> Permit:
        del begun, on_wait
        place = self._places.setdefault(str(call.settings), asyncio.Semaphore(call.settings.concurrency or 1))
        await place.acquire()
        return _PermitOf(place)


@dataclass(frozen=True, slots=True)
class _PermitOf:
    place: asyncio.Semaphore | None

    def slow_down(self, retry_after: float | None) -> None:
        """The step that got the 429 waits by itself."""

    def settle(self, usage: Usage) -> None:
        if self.place is not None:
            self.place.release()


_UNLIMITED: Final = _PermitOf(None)
