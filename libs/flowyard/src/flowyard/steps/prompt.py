"""A prompt node's step: the conversation that the model is shown, its reply read, an unusable reply corrected."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from flowyard.errors.steps import EvaluationError, InvalidOutput, ToolError, TooManyToolRounds
from flowyard.language.nodes import CALLER, Output, PromptNode
from flowyard.language.values.formats import formatted_texts, has_format
from flowyard.language.values.json_schema import property_names
from flowyard.language.values.templates import Template
from flowyard.llm.calls import ChatMessage, JsonSchema, ModelCall, ModelReply, ToolCall, ToolOffer, Usage
from flowyard.llm.tool_calls import masked_call, names_in
from flowyard.runs.run import Part
from flowyard.secrets.masking import Masker
from flowyard.steps.history import read_history
from flowyard.steps.kept_replies import KeptReply
from flowyard.steps.model_call import ModelCaller
from flowyard.steps.reads import Reads
from flowyard.steps.replies import correction, read_reply, reply_schema
from flowyard.steps.running import RunningStep
from flowyard.steps.tool_calls import ToolCaller, offer_of_tools, sent_back, tools_of
from flowyard.tools.node_tools import NodeTools

_LONG: Final = 8 * 1024
"""Characters of a reply that is read in a thread: that would hold the event loop."""


@dataclass(frozen=True, slots=True)
class PromptWork:
    """`schema`: of the reply; None for plain text. `secrets`: the secret inputs that the node's templates name.

    `formatted`: the outputs with texts that are to have a format.
    """

    node: PromptNode
    schema: JsonSchema | None
    secrets: frozenset[str]
    reads: Reads
    formatted: tuple[Output, ...] = ()

    @classmethod
    def of(cls, node: PromptNode, secrets: frozenset[str]) -> PromptWork:
        """`secrets`: the workflow's secret inputs."""
        reads = Reads.of([text.value for text in node.texts()], each=1 + len(node.examples))
        formatted = tuple(output for output in node.outputs if has_format(output.type))
        return cls(node, reply_schema(node), node.names_read & secrets, reads, formatted)

    async def start(self, running: RunningStep) -> Conversation:
        values, vault = running.values, running.context.vault
        secrets = {name: vault.open(name, values[name]) for name in self.secrets}
        shown = {**values, **secrets} if secrets else values
        messages = await self.reads.evaluated(lambda: build_messages(self.node, shown), values)
        uses = self.node.tools
        tools = await tools_of(uses, running) if uses else NodeTools()
        call = ModelCall(
            node=self.node.id,
            settings=self.node.settings,
            messages=messages,
            schema=self.schema,
            offer=offer_of_tools(tools) if uses else offer_of(self.node, values),
            secrets=frozenset(secrets.values()),
        )
        parts = await running.context.recorder.parts_before(running.step) if uses else ()
        return Conversation(self, call, running, tools, parts)


class Conversation:
    """Called for each try of a step. After a reply that doesn't fit, the next try shows the model what is wrong.

    `parts`: what earlier claims have recorded, if the node has tools. The conversation goes on from there.
    """

    def __init__(
        self, work: PromptWork, call: ModelCall, running: RunningStep, tools: NodeTools, parts: Sequence[Part]
    ) -> None:
        self._node = node = work.node
        self._formatted = work.formatted
        self._known = names_in(call) | frozenset(property_names(call.schema))
        self._base = self._call = call
        """The call that a correction is added to, and the one that is made next."""
        self._round = self._tool_rounds = 0
        self._masker = Masker(call.secrets)
        self._caller = ModelCaller(node, running, self._masker, self._kept)
        self._tools = ToolCaller(tools, running, self._masker, parts)
        self._replies = deque(part for part in parts if part.tool is None)
        self._running = running
        self._check_documents = running.context.check_documents

    async def __call__(self) -> dict[str, Any]:
        while True:
            reply, question, is_new = await self._reply()
            if self._node.tools and reply.tool_calls:
                await self._call_tools(KeptReply.of(reply, self._masker, self._known), question)
                continue
            try:
                return await self._read(reply)
            except InvalidOutput as error:
                self._call = self._corrected(error)
                # The try of a recorded one is counted already.
                if is_new:
                    raise

    async def _reply(self) -> tuple[ModelReply, int, bool]:
        """The next reply, the number of its question, and whether it is new: the others are recorded."""
        if self._replies:
            part = self._replies.popleft()
            kept = KeptReply.from_data(part.result)
            return ModelReply(kept.text, Usage(), None, tool_calls=kept.calls), part.question, False
        reply = await self._caller.reply(self._call, self._round)
        last = self._running.calls.last
        return reply, last.question if last is not None else 0, True

    async def _read(self, reply: ModelReply) -> dict[str, Any]:
        if len(reply.text) <= _LONG:
            outputs = self._outputs(reply)
        else:
            outputs = await asyncio.to_thread(self._outputs, reply)
        await self._check_formats(outputs, reply)
        return outputs

    async def _call_tools(self, reply: KeptReply, question: int) -> None:
        """Adds the reply and the results of its calls to the conversation. Raises ToolError, TooManyToolRounds."""
        self._tool_rounds += 1
        if self._tool_rounds > self._node.max_tool_rounds:
            raise TooManyToolRounds(self._node.id, self._node.max_tool_rounds)
        await self._running.context.recorder.replies_durable()
        results = await self._tools.results(reply.calls, question)
        failed = [(call, result) for call, result in zip(reply.calls, results, strict=True) if result.outcome != "ok"]
        if failed and self._node.on_tool_error == "fail":
            call, result = failed[0]
            raise ToolError(f"{call.name}: {result.error}")
        request = ChatMessage("assistant", reply.text or None, tuple(map(sent_back, reply.calls)))
        answers = (
            ChatMessage("tool", self._tools.shown(call, result), tool_call_id=call.id)
            for call, result in zip(reply.calls, results, strict=True)
        )
        self._round += 1
        self._base = self._call = replace(self._base, messages=(*self._base.messages, request, *answers))

    def _kept(self, reply: ModelReply) -> str | None:
        # JSON can spell a secret in many ways: the answer itself is masked only where it is decoded.
        if not self._node.tools or (self._masker and not reply.tool_calls):
            return None
        return KeptReply.of(reply, self._masker, self._known).json

    def _outputs(self, reply: ModelReply) -> dict[str, Any]:
        text, calls = reply.text, reply.tool_calls
        if not self._masker:
            return read_reply(self._node, text, calls)
        if self._node.reply_as != "object":
            return read_reply(self._node, self._masker.text(text), self._masked(calls))
        # The text was masked already, but JSON can spell a secret in many ways, and is decoded only here.
        try:
            outputs = read_reply(self._node, text)
        except InvalidOutput as error:
            raise InvalidOutput(self._masker.text(str(error)), reply=self._masker.text(text)) from None
        return {name: self._masker.value(value, self._known) for name, value in outputs.items()}

    async def _check_formats(self, outputs: Mapping[str, Any], reply: ModelReply) -> None:
        """Raises InvalidOutput if a text that is to be a workflow isn't one."""
        for output in self._formatted:
            for text in formatted_texts(output.type, outputs[output.field]):
                if problems := await self._check_documents(text):
                    raise InvalidOutput("; ".join(problems), reply=self._masker.text(reply.text))

    def _masked(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        return [masked_call(call, self._masker, self._known) for call in calls]

    def _corrected(self, error: InvalidOutput) -> ModelCall:
        """The call before the unusable reply, with the reply and what is wrong with it."""
        self._round += 1
        added = (ChatMessage("assistant", error.reply or "(empty)"), ChatMessage("user", correction(self._node, error)))
        return replace(self._base, messages=self._base.messages + added)


def build_messages(node: PromptNode, values: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
    """The conversation that the model is shown. Raises EvaluationError for a value that isn't there."""
    named = values
    if node.inputs:
        inputs = {n: v.value(values.get) if isinstance(v, Template) else v for n, v in node.inputs.items()}
        named = {**values, **inputs}
    system = [node.system.render(named.get)] if node.system is not None else []
    turns: list[ChatMessage] = []
    if node.history is not None:
        of_system, turns = read_history(node.history, values)
        system += [message.text for message in of_system]
    # As one: not every model takes several.
    messages = [ChatMessage("system", "\n\n".join(system))] if system else []
    if node.prompt is None:
        if not turns:
            raise EvaluationError(f"{_source(node)} has no message yet, and the node has no prompt")
        return (*messages, *turns)
    for example in node.examples:
        shown = {**named, **example.inputs}
        messages.append(ChatMessage("user", node.prompt.render(shown.get)))
        messages.append(ChatMessage("assistant", _example_reply(node, example.outputs)))
    return (*messages, *turns, ChatMessage("user", node.prompt.render(named.get)))


def offer_of(node: PromptNode, values: Mapping[str, Any]) -> ToolOffer | None:
    """The tools of who started the run, if the node hands them to its model, and if there are any."""
    given = (values.get(CALLER) or {}) if node.caller_tools else {}
    tools = given.get("tools")
    if not tools:
        return None
    offered = tuple({**tool, "function": _given(tool["function"])} for tool in tools)
    return ToolOffer(offered, given.get("tool_choice"), given.get("parallel_tool_calls"))


def _given(function: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is null: not every provider takes that."""
    return {name: value for name, value in function.items() if value is not None}


def _source(node: PromptNode) -> str:
    return node.history.messages.text if node.history is not None else node.id


def _example_reply(node: PromptNode, outputs: Mapping[str, Any]) -> str:
    if node.reply_as == "text":
        return str(next(iter(outputs.values())))
    return json.dumps(outputs, ensure_ascii=False)
