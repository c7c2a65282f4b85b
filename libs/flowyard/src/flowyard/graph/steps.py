"""One step: fill the templates, ask the model, check the reply, try again where that may help."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from flowyard.errors import InvalidOutput, ModelError, StepError, StepTimeout
from flowyard.graph.context import RunContext
from flowyard.graph.replies import correction, read_reply
from flowyard.language.templates import Template
from flowyard.language.workflow import ModelSettings, PromptNode
from flowyard.llm.calls import JsonSchema, Message, ModelCall, ModelReply, OnToken
from flowyard.runs.events import Failure, ModelCalled, RetryScheduled, StepFinished, StepId, StepStarted, Token
from flowyard.runs.retry import retry_delay
from flowyard.runs.summary import add_known


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


def failure_of(error: StepError, node: str) -> Failure:
    return Failure(error.code, str(error), node, error.reply if isinstance(error, InvalidOutput) else None)


async def run_step(
    node: PromptNode, schema: JsonSchema | None, values: Mapping[str, Any], step: StepId, context: RunContext
) -> dict[str, Any]:
    """The outputs of one execution of a node. `values`: what its templates may name. Raises StepError."""
    started = context.clock()
    context.emit(StepStarted(step))
    spent = Spent()
    call = ModelCall(node.id, node.settings, build_messages(node, values), schema)
    asker = _Asker(node, call, step, context, spent)
    if node.timeout is None:
        outputs = await asker.ask()
    else:
        try:
            async with asyncio.timeout(node.timeout):
                outputs = await asker.ask()
        except TimeoutError as error:
            raise StepTimeout(node.id, node.timeout) from error
    duration = context.clock() - started
    context.emit(
        StepFinished(step, duration, outputs, spent.calls, spent.tokens_in, spent.tokens_out, spent.cost_usd)
    )
    return outputs


def build_messages(node: PromptNode, values: Mapping[str, Any]) -> tuple[Message, ...]:
    """The conversation that the model is shown. Raises EvaluationError for a value that isn't there."""
    named = dict(values)
    for name, given in node.inputs.items():
        named[name] = given.value(values.get) if isinstance(given, Template) else given
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

    __slots__ = ("call", "context", "node", "spent", "step")

    def __init__(self, node: PromptNode, call: ModelCall, step: StepId, context: RunContext, spent: Spent) -> None:
        self.node = node
        self.call = call
        self.step = step
        self.context = context
        self.spent = spent

    async def ask(self) -> dict[str, Any]:
        tries = 0
        call = self.call
        while True:
            tries += 1
            try:
                reply = await self._any_model(call)
                return read_reply(self.node, reply.text)
            except StepError as error:
                delay = retry_delay(self.node.retry, error, tries, self.context.chance())
                if delay is None:
                    raise
                self.context.emit(RetryScheduled(self.step, tries + 1, delay, failure_of(error, self.node.id)))
                call = self._corrected(error)
            if delay:
                await self.context.sleep(delay)

    def _corrected(self, error: StepError) -> ModelCall:
        """The call again; after an invalid reply with that reply and what is wrong with it."""
        if not isinstance(error, InvalidOutput):
            return self.call
        told = (Message("assistant", error.reply or "(empty)"), Message("user", correction(self.node, error)))
        return ModelCall(self.call.node, self.call.settings, self.call.messages + told, self.call.schema)

    async def _any_model(self, call: ModelCall) -> ModelReply:
        """The first reply of the node's model and its fallbacks, asked in order.

        Where all fail, the error is the first one that is worth a retry, so that the step comes back to it.
        """
        if not call.settings.fallbacks:
            return await self._one_model(call)
        errors: list[ModelError] = []
        for settings in (call.settings, *call.settings.fallbacks):
            try:
                return await self._one_model(ModelCall(call.node, settings, call.messages, call.schema))
            except ModelError as error:
                errors.append(error)
        raise next((e for e in errors if e.code in self.node.retry.errors), errors[-1])

    async def _one_model(self, call: ModelCall) -> ModelReply:
        started = self.context.clock()
        self.spent.calls += 1
        try:
            reply = await self.context.model.reply(call, self._on_token())
        except ModelError as error:
            self._report(call, started, None, error)
            raise
        self.spent.add(reply)
        self._report(call, started, reply, None)
        return reply

    def _on_token(self) -> OnToken | None:
        if not self.context.stream:
            return None
        emit, step = self.context.emit, self.step
        return lambda text: emit(Token(step, text))

    def _report(self, call: ModelCall, started: float, reply: ModelReply | None, error: ModelError | None) -> None:
        settings: ModelSettings = call.settings
        usage = reply.usage if reply else None
        self.context.emit(
            ModelCalled(
                step=self.step,
                provider=settings.provider,
                model=settings.model,
                duration_s=self.context.clock() - started,
                first_token_s=reply.first_token_s if reply else None,
                tokens_in=usage.tokens_in if usage else None,
                tokens_out=usage.tokens_out if usage else None,
                tokens_cached=usage.tokens_cached if usage else None,
                cost_usd=reply.cost_usd if reply else None,
                error=failure_of(error, call.node) if error else None,
                messages=tuple({"role": m.role, "content": m.content} for m in call.messages)
                if self.node.log_prompts
                else None,
            )
        )
