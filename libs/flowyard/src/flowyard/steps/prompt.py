"""A prompt node's step: the conversation that the model is shown, its reply read, an unusable reply corrected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flowyard.errors.steps import InvalidOutput
from flowyard.language.nodes import PromptNode
from flowyard.language.values.json_schema import property_names
from flowyard.language.values.templates import Template
from flowyard.llm.calls import ChatMessage, JsonSchema, ModelCall
from flowyard.secrets.masking import Masker
from flowyard.steps.model_call import ModelCaller
from flowyard.steps.reads import Reads
from flowyard.steps.replies import correction, read_reply, reply_schema
from flowyard.steps.running import RunningStep

_LONG: Final = 8 * 1024
"""Characters of a reply that is read in a thread: that would hold the event loop."""


@dataclass(frozen=True, slots=True)
class PromptWork:
    """`schema`: of the reply; None for plain text. `secrets`: the secret inputs that the node's templates name."""

    node: PromptNode
    schema: JsonSchema | None
    secrets: frozenset[str]
    reads: Reads

    @classmethod
    def of(cls, node: PromptNode, secrets: frozenset[str]) -> PromptWork:
        """`secrets`: the workflow's secret inputs."""
        reads = Reads.of([text.value for text in node.texts()], each=1 + len(node.examples))
        return cls(node, reply_schema(node), node.names_read & secrets, reads)

    async def start(self, running: RunningStep) -> Conversation:
        values, vault = running.values, running.context.vault
        secrets = {name: vault.open(name, values[name]) for name in self.secrets}
        shown = {**values, **secrets} if secrets else values
        messages = await self.reads.evaluated(lambda: build_messages(self.node, shown), values)
        call = ModelCall(
            node=self.node.id,
            settings=self.node.settings,
            messages=messages,
            schema=self.schema,
            secrets=frozenset(secrets.values()),
        )
        return Conversation(self.node, call, running)


class Conversation:
    """Called for each try of a step. After a reply that doesn't fit, the next try shows the model what is wrong."""

    __slots__ = ("_call", "_caller", "_first_call", "_masker", "_node", "_round")

    def __init__(self, node: PromptNode, call: ModelCall, running: RunningStep) -> None:
        self._node = node
        self._first_call = self._call = call
        self._round = 0
        self._masker = Masker(call.secrets)
        self._caller = ModelCaller(node, running, self._masker)

    async def __call__(self) -> dict[str, Any]:
        reply = await self._caller.reply(self._call, self._round)
        try:
            if len(reply.text) <= _LONG:
                return self._outputs(reply.text)
            return await asyncio.to_thread(self._outputs, reply.text)
        except InvalidOutput as error:
            self._call = self._corrected(error)
            raise

    def _outputs(self, text: str) -> dict[str, Any]:
        if not self._masker:
            return read_reply(self._node, text)
        # The text was masked already, but JSON can spell a secret in many ways, and is decoded only here.
        try:
            outputs = read_reply(self._node, text)
        except InvalidOutput as error:
            raise InvalidOutput(self._masker.text(str(error)), reply=self._masker.text(text)) from None
        known = frozenset(property_names(self._first_call.schema))
        return {name: self._masker.value(value, known) for name, value in outputs.items()}

    def _corrected(self, error: InvalidOutput) -> ModelCall:
        """The first call, with the unusable reply and what is wrong with it."""
        self._round += 1
        added = (ChatMessage("assistant", error.reply or "(empty)"), ChatMessage("user", correction(self._node, error)))
        return replace(self._first_call, messages=self._first_call.messages + added)


def build_messages(node: PromptNode, values: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
    """The conversation that the model is shown. Raises EvaluationError for a value that isn't there."""
    named = values
    if node.inputs:
        inputs = {n: v.value(values.get) if isinstance(v, Template) else v for n, v in node.inputs.items()}
        named = {**values, **inputs}
    prompt = ChatMessage("user", node.prompt.render(named.get))
    if node.system is None and not node.examples:
        return (prompt,)
    messages = [ChatMessage("system", node.system.render(named.get))] if node.system is not None else []
    for example in node.examples:
        shown = {**named, **example.inputs}
        messages.append(ChatMessage("user", node.prompt.render(shown.get)))
        messages.append(ChatMessage("assistant", _example_reply(node, example.outputs)))
    return (*messages, prompt)


def _example_reply(node: PromptNode, outputs: Mapping[str, Any]) -> str:
    if node.reply_as == "text":
        return str(next(iter(outputs.values())))
    return json.dumps(outputs, ensure_ascii=False)
