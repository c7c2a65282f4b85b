"""One step: fill the templates, ask the model, check the reply, try again where that may help."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from flowyard.errors import FlowyardError
from flowyard.graph.context import RunContext
from flowyard.graph.replies import correction, read_reply, reply_schema
from flowyard.graph.spending import GoingAway, Held, Spending
from flowyard.language.nodes import PromptNode
from flowyard.language.values.json_schema import property_names
from flowyard.language.values.templates import Template
from flowyard.llm.calls import JsonSchema, Message, ModelCall, ModelReply, OnToken, Usage
from flowyard.masking import Masker
from flowyard.runs.costs import UNPAID
from flowyard.runs.events import Failure, ModelCalled, RetryScheduled, StepFinished, StepId, Token
from flowyard.runs.retry import retry_delay
from flowyard.runs.summary import add_known
from flowyard.step_errors import (
    InvalidOutput,
    ModelError,
    ModelTimeout,
    NotAtWork,
    ProviderError,
    StepError,
    StepTimeout,
)

_UNKNOWN: Final = Usage()
_NOTHING: Final = Usage(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Work:
    """A node, and what of its work is the same in every step."""

    node: PromptNode
    schema: JsonSchema | None
    secrets: frozenset[str] = frozenset()
    """The secret inputs that its templates name."""


@dataclass(slots=True)
class Spent:
    """What the calls of one step came to. None: at least one part is unknown."""

    calls: int = 0
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    cost_usd: Decimal | None = field(default_factory=Decimal)

    def add(self, reply: ModelReply) -> None:
        self.tokens_in = add_known(self.tokens_in, reply.usage.tokens_in)
        self.tokens_out = add_known(self.tokens_out, reply.usage.tokens_out)
        self.cost_usd = add_known(self.cost_usd, reply.cost_usd)


def work_of(node: PromptNode, secrets: frozenset[str]) -> Work:
    """`secrets`: the workflow's secret inputs."""
    return Work(node, reply_schema(node), node.names_read & secrets)


def failure_of(error: FlowyardError, node: str) -> Failure:
    return Failure(error.code, str(error), node, error.reply if isinstance(error, InvalidOutput) else None)


async def run_step(work: Work, values: Mapping[str, Any], step: StepId, context: RunContext) -> StepFinished:
    """One execution of a node. `values`: what its templates may name. Raises FlowyardError."""
    started = context.clock()
    node = work.node
    key = f"{context.run_id}:{step.node}:{step.visit}" + (f":{step.item}" if step.item is not None else "")
    secrets = {name: context.vault.open(name, values[name]) for name in work.secrets}
    messages = build_messages(node, {**values, **secrets} if secrets else values)
    call = ModelCall(node.id, node.settings, messages, work.schema, key, frozenset(secrets.values()))
    asker = _Asker(node, step, context, Masker(call.secrets))
    if node.timeout is None:
        outputs = await asker.ask(call)
    else:
        outputs = await _in_time(asker, call, node.timeout)
    spent = asker.spent
    sums = spent.calls, spent.tokens_in, spent.tokens_out, spent.cost_usd
    return StepFinished(step, context.clock() - started, outputs, *sums)


async def _in_time(asker: _Asker, call: ModelCall, seconds: float) -> dict[str, Any]:
    asker.limit = limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await asker.ask(call)
    except TimeoutError as error:
        if limit.expired():
            raise StepTimeout(call.node, seconds) from error
        raise


def build_messages(node: PromptNode, values: Mapping[str, Any]) -> tuple[Message, ...]:
    """The conversation that the model is shown. Raises EvaluationError for a value that isn't there."""
    named = values
    if node.inputs:
        given = {n: v.value(values.get) if isinstance(v, Template) else v for n, v in node.inputs.items()}
        named = {**values, **given}
    prompt = Message("user", node.prompt.render(named.get))
    if node.system is None and not node.examples:
        return (prompt,)
    messages = [Message("system", node.system.render(named.get))] if node.system is not None else []
    for example in node.examples:
        asked = {**named, **example.inputs}
        messages.append(Message("user", node.prompt.render(asked.get)))
        messages.append(Message("assistant", _example_reply(node, example.outputs)))
    return (*messages, prompt)


def _example_reply(node: PromptNode, outputs: Mapping[str, Any]) -> str:
    if node.reply_as == "text":
        return str(next(iter(outputs.values())))
    return json.dumps(outputs, ensure_ascii=False)


class _Asker:
    """Asks until there is a reply that fits, or no try is left."""

    __slots__ = ("context", "heard", "limit", "masker", "node", "sent", "spent", "step", "tries")

    def __init__(self, node: PromptNode, step: StepId, context: RunContext, masker: Masker) -> None:
        self.node = node
        self.masker = masker
        self.step = step
        self.context = context
        self.spent = Spent()
        self.heard = self.sent = False
        self.limit: asyncio.Timeout | None = None
        before = context.recorder.recorded.get(step)
        self.tries = before.tries - 1 if before is not None else 0

    async def ask(self, asked: ModelCall) -> dict[str, Any]:
        call = asked
        while True:
            self.tries += 1
            try:
                reply = await self._any_model(call)
                return self._outputs(reply.text, asked)
            except StepError as error:
                delay = retry_delay(self.node.retry, error, self.tries, self.context.chance())
                if delay is None:
                    raise
                failure = failure_of(error, self.node.id)
                self.context.recorder.emit(RetryScheduled(self.step, self.tries + 1, delay, failure))
                if isinstance(error, InvalidOutput):
                    call = self._corrected(asked, error)
            await self.context.recorder.wait(self.step, delay, failure)

    def _outputs(self, text: str, asked: ModelCall) -> dict[str, Any]:
        if not self.masker:
            return read_reply(self.node, text)
        # Once more: JSON can spell a text in many ways, and is read only now.
        try:
            outputs = read_reply(self.node, text)
        except InvalidOutput as error:
            raise InvalidOutput(self.masker.text(str(error)), reply=self.masker.text(text)) from None
        known = frozenset(property_names(asked.schema))
        return {name: self.masker.value(value, known) for name, value in outputs.items()}

    def _corrected(self, asked: ModelCall, error: InvalidOutput) -> ModelCall:
        """The call again, with the reply that doesn't fit and what is wrong with it: that is another question."""
        told = (Message("assistant", error.reply or "(empty)"), Message("user", correction(self.node, error)))
        return replace(asked, messages=asked.messages + told, key=f"{asked.key}:{self.tries}")

    async def _any_model(self, call: ModelCall) -> ModelReply:
        """The first reply of the node's model and its fallbacks, asked in order.

        Where all fail, the error is the first one that is worth a retry, so that the step comes back to it.
        """
        if not call.settings.fallbacks:
            return await self._one_model(call)
        errors: list[ModelError] = []
        for settings in (call.settings, *call.settings.fallbacks):
            try:
                return await self._one_model(replace(call, settings=settings))
            except ModelError as error:
                errors.append(error)
        raise next((e for e in errors if e.code in self.node.retry.errors), errors[-1])

    async def _one_model(self, asked: ModelCall) -> ModelReply:
        held = await self._admitted(asked)
        call = held.call if held is not None else asked
        started = self.context.clock()
        self.spent.calls += 1
        self.heard = self.sent = False
        try:
            if held is not None:
                started = await self._reserve(held)
            self.sent = True
            reply = await self.context.model.reply(call, self._on_token())
        except FlowyardError as error:
            self._report(call, started, self._lost(call, error), failure_of(error, call.node), held)
            raise
        except BaseException as error:
            # A bug, too: it may have cost something, and other calls wait for the end of this one.
            self._report(call, started, self._lost(call, error), Failure(*self._why(error), call.node), held)
            raise
        self._report(call, started, reply, None, held)
        return reply

    async def _admitted(self, asked: ModelCall) -> Held | None:
        """None: nothing is limited. To wait for what other calls leave over takes none of the step's own time."""
        spending = self.context.spending
        if spending is None:
            return None
        until = self.limit.when() if self.limit is not None else None
        if self.limit is None or until is None:
            return await self._admitted_by(spending, asked)
        now = asyncio.get_running_loop().time
        left = until - now()
        self.limit.reschedule(None)
        held = await self._admitted_by(spending, asked)
        self.limit.reschedule(now() + left)
        return held

    async def _admitted_by(self, spending: Spending, asked: ModelCall) -> Held:
        while True:
            try:
                return await spending.admit(asked, begun=self.spent.calls > 0)
            except GoingAway:
                # The step stands before its beginning again, and is given back there with all others.
                self.context.recorder.end(self.step)
                await self.context.recorder.begin(self.step)

    def _shown(self, call: ModelCall) -> tuple[dict[str, str], ...]:
        return tuple({"role": m.role, "content": self.masker.text(m.content)} for m in call.messages)

    async def _reserve(self, held: Held) -> float:
        """Returns when the call may be made: no crash can make it free any more. The time of the clock then."""
        told = self.context.spending.told(held, self.step) if self.context.spending is not None else None
        if told is not None:
            await self.context.recorder.reserve(told)
        return self.context.clock()

    def _why(self, error: BaseException) -> tuple[str, str]:
        """Code and message of what ended a call from outside."""
        if not isinstance(error, asyncio.CancelledError):
            return "internal_error", "a bug ended the call"
        if self.limit is not None and self.limit.expired():
            return "timeout", "the node's timeout cut the call off"
        return "cancelled", "the call was cut off"

    def _lost(self, call: ModelCall, error: BaseException) -> ModelReply:
        """What a failed call has used: unknown if a model may have worked on it, nothing if none has."""
        open_ended = not isinstance(error, FlowyardError) or isinstance(error, ModelTimeout | ProviderError)
        at_work = self.sent and (self.heard or (open_ended and not isinstance(error, NotAtWork)))
        unpaid = call.settings.provider in UNPAID or not at_work
        return ModelReply("", _UNKNOWN if at_work else _NOTHING, Decimal(0) if unpaid else None)

    def _on_token(self) -> OnToken | None:
        if not self.context.stream:
            return None
        emit, step = self.context.recorder.emit, self.step

        def heard(text: str) -> None:
            self.heard = True
            emit(Token(step, text))

        return heard

    def _report(
        self, call: ModelCall, started: float, reply: ModelReply, failure: Failure | None, held: Held | None
    ) -> None:
        self.spent.add(reply)
        if held is not None and self.context.spending is not None:
            self.context.spending.settle(held, reply)
        usage = reply.usage
        shown = self._shown(call) if self.node.log_prompts else None
        self.context.recorder.emit(
            ModelCalled(
                self.step,
                call.settings.provider,
                call.settings.model,
                self.context.clock() - started,
                reply.first_token_s,
                usage.tokens_in,
                usage.tokens_out,
                usage.tokens_cached,
                reply.cost_usd,
                failure,
                shown,
                self.tries - 1,
                reply.text if self.node.log_prompts and failure is None else None,
            )
        )
