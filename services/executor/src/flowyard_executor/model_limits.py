"""Limits on model calls that all executors share: each call is admitted in Postgres, where all of them are counted."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from flowyard.durable.patience import patiently
from flowyard.errors.services import Unavailable
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ModelCall, Usage
from flowyard.llm.keys import key_variable
from flowyard.steps.budget_gate import LONGEST_REPLY, Draining
from flowyard.steps.call_limits import CallLimits, OnWait, Permit
from flowyard.steps.token_bounds import prompt_bound, reply_limit
from flowyard.storage.pace import Limit, ModelPace
from flowyard_executor.holds import Holds
from flowyard_executor.limit_waits import LimitWaits, Wait

log = logging.getLogger(__name__)

_LONGEST_PAUSE_S: Final = 1.0
"""Most seconds between two checks: a limit may be free earlier than announced."""


class ModelLimits:
    """The limits of all runs of this process. `by_name`: those of providers, by `provider` or `provider:VARIABLE`."""

    def __init__(
        self, pace: ModelPace, by_name: Mapping[str, Limit], waits: LimitWaits, holds: Holds, *, draining: asyncio.Event
    ) -> None:
        self.waits = waits
        self._pace = pace
        self._by_name = by_name
        self._draining = draining
        self._holds = holds
        self._at_work: set[UUID] = set()
        self._settling: set[asyncio.Task[None]] = set()
        # Only the first call that waits for the same limits looks whether it may be made.
        self._queues: WeakValueDictionary[tuple[Limit, ...], asyncio.Lock] = WeakValueDictionary()

    def of(self, workflow: str) -> CallLimits:
        return _OfWorkflow(workflow, self)

    def limits(self, workflow: str, settings: ModelSettings) -> tuple[Limit, ...]:
        of_provider, most = self._provider_limit(settings), settings.concurrency
        of_workflow = Limit(name=f"{workflow} {settings}", concurrency=most) if most is not None else None
        return tuple(limit for limit in (of_provider, of_workflow) if limit is not None)

    def permit_at_once(self, workflow: str, call: ModelCall) -> Permit | None:
        """See CallLimits."""
        if self.limits(workflow, call.settings) or self._holds.left_s(call.settings):
            return None
        return _Permit(self, call.settings)

    async def permit(self, workflow: str, call: ModelCall, *, begun: bool, on_wait: OnWait) -> Permit:
        """See CallLimits."""
        tokens = prompt_bound(call) + (reply_limit(call) or LONGEST_REPLY)
        permit = _Permit(self, call.settings, self.limits(workflow, call.settings), tokens)
        work = self._wait(permit, on_wait)
        try:
            await (work if begun else self._unless_draining(work))
        except BaseException:
            # Postgres may have admitted it: its answer didn't come any more.
            self.settle(permit, unused=1)
            raise
        return permit

    async def keep(self, *, lease_s: float) -> NoReturn:
        """Renews the leases of all calls at work, and shows which calls wait, until it is cancelled."""
        while True:
            await asyncio.sleep(min(1, lease_s / 3))
            with suppress(Unavailable):
                if self._at_work:
                    await self._pace.renew(self._at_work)
                await self.waits.show()

    async def settled(self, *, within_s: float) -> None:
        """Returns when all ended calls are settled, or after `within_s`: the leases of the others end by themselves."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=within_s)

    def slow_down(self, permit: _Permit, retry_after: float | None) -> None:
        limit = self._provider_limit(permit.settings)
        if limit is not None:
            self._keep(self._pace.slow_down(limit.name, wait_s=retry_after))
        else:
            self._holds.add(permit.settings, retry_after)

    def settle(self, permit: _Permit, *, unused: float) -> None:
        if not permit.limits:
            return
        self._at_work.discard(permit.id)
        self._keep(patiently(lambda: self._pace.settle(permit.id, unused=unused)))

    def _provider_limit(self, settings: ModelSettings) -> Limit | None:
        of_key = self._by_name.get(f"{settings.provider}:{key_variable(settings)}")
        return of_key or self._by_name.get(settings.provider)

    async def _wait(self, permit: _Permit, on_wait: OnWait) -> None:
        first = permit.limits[0].name if permit.limits else str(permit.settings)
        with self.waits.waiting(first, on_wait) as wait:
            while left_s := self._holds.left_s(permit.settings):
                wait.limit, wait.rate_limited = str(permit.settings), True
                await _pause(left_s)
            wait.limit, wait.rate_limited = first, False
            if permit.limits:
                async with self._queues.setdefault(permit.limits, asyncio.Lock()):
                    await self._admit(permit, wait)

    async def _admit(self, permit: _Permit, wait: Wait) -> None:
        def admit() -> Coroutine[Any, Any, Any]:
            return self._pace.admit(permit.id, permit.limits, tokens=permit.tokens)

        while (refusal := await patiently(admit)) is not None:
            wait.limit, wait.rate_limited = refusal.limit, refusal.rate_limited
            await _pause(refusal.wait_s)
        self._at_work.add(permit.id)

    async def _unless_draining(self, work: Coroutine[Any, Any, None]) -> None:
        """Raises Draining."""
        working = asyncio.create_task(work)
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait((working, draining), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Draining
            working.result()
        finally:
            draining.cancel()
            working.cancel()
            await asyncio.wait((working,))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        async def done() -> None:
            with suppress(Unavailable):
                await work

        task = asyncio.create_task(done())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)


async def _pause(seconds: float) -> None:
    """Waits about this long: at random, so that not all waiting calls check their limit at the same moment."""
    await asyncio.sleep(min(seconds, _LONGEST_PAUSE_S) * random.uniform(1, 1.3))  # noqa: S311  # no secret


@dataclass(frozen=True, slots=True)
class _OfWorkflow:
    workflow: str
    limits: ModelLimits

    def permit_at_once(self, call: ModelCall) -> Permit | None:
        return self.limits.permit_at_once(self.workflow, call)

    async def permit(self, call: ModelCall, *, begun: bool, on_wait: OnWait) -> Permit:
        return await self.limits.permit(self.workflow, call, begun=begun, on_wait=on_wait)


@dataclass(eq=False, slots=True)
class _Permit:
    """`limits`: none, if the call was permitted at once. `tokens`: of the call, at most."""

    owner: ModelLimits
    settings: ModelSettings
    limits: tuple[Limit, ...] = ()
    tokens: int = 1
    id: UUID = field(default_factory=uuid4)

    def slow_down(self, retry_after: float | None) -> None:
        self.owner.slow_down(self, retry_after)

    def settle(self, usage: Usage) -> None:
        used = None if usage.tokens_in is None or usage.tokens_out is None else usage.tokens_in + usage.tokens_out
        # What nobody knows counts as used.
        self.owner.settle(self, unused=1 - used / self.tokens if used is not None else 0)
