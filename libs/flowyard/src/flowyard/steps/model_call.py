"""The model calls of one step: the node's model and its fallbacks, each behind the budget gate, each reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Final

from flowyard.errors.base import FlowyardError
from flowyard.errors.steps import JsonFormRefused, ModelError, ModelNeverRan, ModelTimeout, ProviderError, RateLimited
from flowyard.language.nodes import PromptNode
from flowyard.language.providers import UNPAID
from flowyard.large_json import out_of_the_loop
from flowyard.llm.calls import ModelCall, ModelReply, OnToken, Usage
from flowyard.llm.endings import unusable
from flowyard.llm.json_forms import with_schema
from flowyard.llm.messages import shown_call, shown_text
from flowyard.runs.events import Failure, ModelCalled, ModelReserved, ModelWaiting, Token
from flowyard.runs.retry import LONGEST_WAIT
from flowyard.runs.run import CallStart, StepCalls
from flowyard.secrets.masking import Masker
from flowyard.steps.budget_gate import BudgetGate, Draining, Reservation
from flowyard.steps.call_limits import Permit
from flowyard.steps.failures import failure_of
from flowyard.steps.running import RunningStep

_UNKNOWN: Final = Usage()
_PER_TEXT: Final = 16
"""To mask a text takes so many times as long as to encode it, at most."""
_NOTHING: Final = Usage(0, 0, 0)


class ModelCaller:
    """Makes the calls of one step. Each is emitted as ModelCalled, also one that failed.

    `keep`: what is kept of a reply, so that the step can go on from it; None: nothing.
    """

    __slots__ = (
        "_has_called",
        "_keep",
        "_masker",
        "_messages",
        "_node",
        "_paused",
        "_received_tokens",
        "_running",
        "_sent",
    )

    def __init__(
        self, node: PromptNode, running: RunningStep, masker: Masker, keep: Callable[[ModelReply], str | None]
    ) -> None:
        self._node = node
        self._running = running
        self._masker = masker
        self._keep = keep
        self._has_called = self._sent = self._received_tokens = False
        self._messages: tuple[dict[str, str], ...] | None = None
        """Of the last call, as they are logged."""
        self._paused: dict[int, tuple[ModelError, float]] = {}
        """By the place of a model among the node's: its last error, and when the pause ends that it demanded."""

    async def reply(self, call: ModelCall, in_round: int) -> ModelReply:
        """The first reply of the node's model and its fallbacks, called in order. `in_round`: see CallStart.

        If all of them fail, raises the first ModelError that is worth a retry, so that the step is retried, with the
        shortest pause that any of these demands. In that retry, models that demand a longer one aren't called.
        """
        if not call.settings.fallbacks:
            return await self._call_model(call, in_round)
        models, paused = (call.settings, *call.settings.fallbacks), self._still_paused()
        if len(paused) == len(models):
            # A timer may fire a little early.
            paused = {}
        errors: list[tuple[ModelError, float | None]] = []
        for number, settings in enumerate(models):
            if number in paused:
                errors.append(paused[number])
                continue
            try:
                return await self._call_model(replace(call, settings=settings), in_round)
            except ModelError as error:
                errors.append((error, error.retry_after))
                if error.retry_after is not None:
                    self._paused[number] = error, self._running.context.clock() + error.retry_after
        raise self._error_of(errors)

    def _still_paused(self) -> dict[int, tuple[ModelError, float | None]]:
        """The last errors of these models, and for how many seconds they mustn't be called."""
        now = self._running.context.clock()
        return {number: (error, until - now) for number, (error, until) in self._paused.items() if until > now}

    def _error_of(self, errors: Sequence[tuple[ModelError, float | None]]) -> ModelError:
        """The error for those of all models. `errors`: with the pauses that the models demand, in seconds."""
        worth_it = [(error, pause) for error, pause in errors if error.code in self._node.retry.errors]
        if not worth_it:
            return errors[-1][0]
        # The first model that may be called again ends the wait. A pause that is too long must not end the step for it.
        in_time = [(error, pause) for error, pause in worth_it if (pause or 0) <= LONGEST_WAIT] or worth_it
        error, _ = in_time[0]
        error.retry_after = min((pause for _, pause in in_time if pause is not None), default=None)
        return error

    async def _call_model(self, call: ModelCall, in_round: int) -> ModelReply:
        wanted = with_schema(call)
        while True:
            # It ends: each time, the models know fewer forms for this call.
            with suppress(JsonFormRefused):
                return await self._make_call(wanted, in_round)

    async def _make_call(self, wanted: ModelCall, in_round: int) -> ModelReply:
        permit, usage = await self._permit(wanted), _UNKNOWN
        try:
            reply = await self._permitted_call(wanted, in_round)
            usage = reply.usage
            return reply
        except RateLimited as error:
            permit.slow_down(error.retry_after)
            usage = _NOTHING
            raise
        finally:
            permit.settle(usage)

    async def _permit(self, call: ModelCall) -> Permit:
        """Waiting for it takes none of the step's time."""
        context, step = self._running.context, self._running.step
        if (permit := context.limits.permit_at_once(call)) is not None:
            return permit

        def emit_wait(limit: str, rate_limited: bool) -> None:  # noqa: FBT001  # as OnWait
            context.recorder.emit(ModelWaiting(step, call.settings.provider, call.settings.model, limit, rate_limited))

        async with self._running.time_stopped():
            while True:
                try:
                    return await context.limits.permit(call, begun=self._has_called, on_wait=emit_wait)
                except Draining:
                    await context.recorder.step_aside(step)

    async def _permitted_call(self, wanted: ModelCall, in_round: int) -> ModelReply:
        context, running = self._running.context, self._running
        self._messages = await self._logged_messages(wanted)
        reservation = await self._admitted(wanted)
        start = running.calls.next(running.step, in_round, wanted.settings.provider, wanted.settings.model)
        call = replace(reservation.call if reservation is not None else wanted, key=start.key(running.key))
        started = context.clock()
        self._has_called = True
        self._received_tokens = self._sent = False
        try:
            # A call that a crash interrupts is still counted.
            await context.recorder.begin_call(start, self._reserved(reservation))
            started = context.clock()
            self._sent = True
            reply = await context.model.reply(call, self._on_token(start.part))
        except FlowyardError as error:
            failure = failure_of(error, call.node)
            self._report(call, start, started, self._usage_of_failed(call, error), failure, reservation)
            raise
        except BaseException as error:
            # A bug, too: the call may have cost something, and other calls wait until it is settled.
            failure = Failure(*self._interruption(error), call.node)
            self._report(call, start, started, self._usage_of_failed(call, error), failure, reservation)
            raise
        is_budget = call.settings.max_tokens != wanted.settings.max_tokens
        useless = unusable(reply, call.settings, is_budget=is_budget)
        failure_of_reply = failure_of(useless, call.node) if useless is not None else None
        self._report(call, start, started, reply, failure_of_reply, reservation)
        if useless is not None:
            raise useless
        return reply

    async def _admitted(self, call: ModelCall) -> Reservation | None:
        """None if the run has no limits. Waiting for other calls to be settled takes none of the step's time."""
        gate = self._running.context.budget_gate
        if gate is None:
            return None
        async with self._running.time_stopped():
            return await self._admitted_by(gate, call)

    async def _admitted_by(self, gate: BudgetGate, call: ModelCall) -> Reservation:
        recorder, step = self._running.context.recorder, self._running.step
        while True:
            try:
                return await gate.admit(call, begun=self._has_called)
            except Draining:
                await recorder.step_aside(step)

    def _reserved(self, reservation: Reservation | None) -> ModelReserved | None:
        gate = self._running.context.budget_gate
        return gate.event(reservation, self._running.step) if reservation is not None and gate is not None else None

    def _interruption(self, error: BaseException) -> tuple[str, str]:
        """Code and message of what ended a call from outside."""
        if not isinstance(error, asyncio.CancelledError):
            return "internal_error", "a bug ended the call"
        if self._running.is_out_of_time:
            return "timeout", "the node's timeout cut the call off"
        return "cancelled", "the call was cut off"

    def _usage_of_failed(self, call: ModelCall, error: BaseException) -> ModelReply:
        """What a failed call used: unknown if a model may have worked on it, nothing if none has."""
        open_ended = not isinstance(error, FlowyardError) or isinstance(error, ModelTimeout | ProviderError)
        at_work = self._sent and (self._received_tokens or (open_ended and not isinstance(error, ModelNeverRan)))
        unpaid = call.settings.provider in UNPAID or not at_work
        return ModelReply("", _UNKNOWN if at_work else _NOTHING, Decimal(0) if unpaid else None)

    def _on_token(self, part: int) -> OnToken | None:
        if not self._running.context.streams():
            return None
        emit, step = self._running.context.recorder.emit, self._running.step
        offset = 0

        def on_token(text: str) -> None:
            nonlocal offset
            self._received_tokens = True
            emit(Token(step, text, part, offset))
            offset += len(text)

        return on_token

    @property
    def _logs(self) -> bool:
        return self._running.context.log_prompts and self._node.log_prompts

    def _report(
        self,
        call: ModelCall,
        start: CallStart,
        started: float,
        reply: ModelReply,
        failure: Failure | None,
        reservation: Reservation | None,
    ) -> None:
        context = self._running.context
        usage, origin = reply.usage, reply.origin
        spending = self._running.calls.spending.with_call(
            tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, cost_usd=reply.cost_usd
        )
        self._running.calls = StepCalls(
            spending, start, failure is None or usage is not _UNKNOWN, parts=max(start.part, self._running.calls.parts)
        )
        if reservation is not None and context.budget_gate is not None:
            context.budget_gate.settle(reservation, reply)
        context.recorder.emit(
            ModelCalled(
                step=self._running.step,
                provider=call.settings.provider,
                model=call.settings.model,
                duration_s=context.clock() - started,
                first_token_s=reply.first_token_s,
                tokens_in=usage.tokens_in,
                tokens_out=usage.tokens_out,
                tokens_cached=usage.tokens_cached,
                cost_usd=reply.cost_usd,
                error=failure,
                messages=self._messages,
                retries=self._running.tries - 1,
                reply=_shown_reply(reply) if self._logs and (failure is None or reply.text) else None,
                reasoning=(reply.reasoning or None) if self._logs else None,
                # Mostly the model that was asked.
                served_by=origin.model if origin.model != call.settings.model else None,
                reply_id=origin.id,
                finish_reason=origin.finish_reason,
                streamed=reply.first_token_s is not None,
                asks_json=call.schema is not None,
                result=self._keep(reply) if failure is None else None,
            )
        )

    async def _logged_messages(self, call: ModelCall) -> tuple[dict[str, str], ...] | None:
        """None if they aren't logged. Secrets are masked, which takes a second for megabytes with escapes."""
        if not self._logs:
            return None
        texts = [message.content or "" for message in call.messages] if self._masker else []
        return await out_of_the_loop(lambda: self._masked_messages(call), texts, times=_PER_TEXT)

    def _masked_messages(self, call: ModelCall) -> tuple[dict[str, str], ...]:
        return tuple({"role": m.role, "content": self._masker.text(shown_text(m))} for m in call.messages)


def _shown_reply(reply: ModelReply) -> str:
    """The text with the calls of tools after it, for logs."""
    return "\n".join([*([reply.text] if reply.text else []), *map(shown_call, reply.tool_calls)])
