"""Reads `chat` of a trigger: which input has the conversation, which node answers, whether its tokens can be sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flowyard.language.building.caller_tools import allow_caller_tools
from flowyard.language.flow import Flow
from flowyard.language.nodes import Node, PromptNode
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.reading.triggers import ChatShape, TriggerShape
from flowyard.language.triggers import Chat, Source, Trigger
from flowyard.language.values.types import MESSAGE, STR, ListOf, Type, core, describe, is_text
from flowyard.language.workflow import Field, maps_of


@dataclass(frozen=True, slots=True)
class ChatReader:
    """`result`: the fields that the workflow hands out; empty: all that it writes. `read_ones`: chats so far."""

    document: SourceDocument
    fields: Mapping[str, Field]
    flow: Flow
    result: Collection[str]
    read_ones: list[str] = field(default_factory=list)

    def read(self, name: str, trigger: TriggerShape, shape: ChatShape, path: KeyPath) -> Chat | None:
        """None: it has no conversation, or no answer. Reports its problems."""
        for key in ("when", "reply"):
            if getattr(trigger, key) is not None:
                message = f"'{key}' has no meaning here: each request to a chat is answered by a run"
                self.document.error("wrong-kind", (*path, key), message, "remove it", key=True)
        if self.read_ones:
            message = f"the trigger '{self.read_ones[0]}' is a chat, too: a workflow is one model"
            self.document.error("wrong-kind", (*path, "chat"), message, "remove one of them", key=True)
        self.read_ones.append(name)
        where = (*path, "chat")
        messages, answer = self._messages(shape.messages, where), self._answer(shape.answer, where)
        if messages is None or answer is None:
            return None
        return Chat(
            messages=messages,
            answer=answer.id,
            output=answer.outputs[0].field,
            is_live=shape.stream == "tokens" and self._is_live(answer),
            is_last=not self._following(answer) & self.flow.nodes.keys(),
            caller_tools=shape.caller_tools,
            show_steps=shape.show_steps,
            concurrent=shape.concurrent,
            on_disconnect=shape.on_disconnect,
            background=shape.background,
        )

    def filled_by(self, source: Source | None) -> frozenset[str]:
        """The inputs that a chat fills by itself; of one that couldn't be read, those that may be meant."""
        if isinstance(source, Chat):
            return frozenset({source.messages})
        return frozenset(name for name, each in self.fields.items() if _is_conversation(each))

    def _messages(self, given: str | None, path: KeyPath) -> str | None:
        takes = [name for name, each in self.fields.items() if each.is_input and _is_conversation(each)]
        if given in takes:
            return given
        where = (*path, "messages")
        if given is not None:
            if (there := self.fields.get(given)) is None:
                hint = suggest(given, takes, "inputs of type list[message]")
                self.document.error("unknown-field", where, f"no field '{given}'", hint)
            elif not there.is_input:
                message = f"'{given}' is written by the workflow, so it isn't an input"
                self.document.error("invalid-inputs", where, message, "add required: true")
            else:
                message = f"'{given}' is {describe(there.type)}, and can't hold a conversation"
                self.document.error("type-mismatch", where, message, "make it a list[message]")
        elif len(takes) == 1:
            return takes[0]
        elif takes:
            message = f"the workflow has several inputs of type list[message]: {', '.join(takes)}"
            self.document.error("missing-key", path, message, f"add messages: {takes[0]}", key=True)
        elif "state" not in self.document.incomplete:
            message = "a chat needs an input for the conversation"
            hint = "add to state.fields: messages: {type: 'list[message]', required: true}"
            self.document.error("missing-key", path, message, hint, key=True)
        return None

    def _answer(self, given: str | None, path: KeyPath) -> PromptNode | None:
        nodes = {name: node for name, node in self.flow.nodes.items() if isinstance(node, PromptNode)}
        able = {name: node for name, node in nodes.items() if self._why_not(node) is None}
        if given in able:
            return able[given]
        where = (*path, "answer")
        if given is not None:
            if given in nodes:
                message = f"'{given}' can't answer: {self._why_not(nodes[given])}"
                self.document.error("wrong-kind", where, message, suggest(given, able, "nodes that can"))
            else:
                kind = "no node" if given not in self.flow.nodes else "no prompt node"
                self.document.error("unknown-node", where, f"{kind} '{given}'", suggest(given, able, "nodes"))
        elif len(able) == 1:
            return next(iter(able.values()))
        elif able:
            message = f"several nodes can answer: {', '.join(able)}"
            self.document.error("missing-key", path, message, f"add answer: {list(able)[-1]}", key=True)
        elif not self.document.incomplete & {"nodes", "ids", "state"}:
            message = "no node can answer: that takes a prompt node with one output, a text or a message"
            self.document.error("missing-key", path, message, "add such a node", key=True)
        return None

    def _why_not(self, node: PromptNode) -> str | None:
        """Why a node can't answer; None: it can."""
        if len(node.outputs) != 1:
            return "it needs one output, a text or a message"
        output = node.outputs[0]
        written = self.fields.get(output.field)
        if written is None or not _is_answer(output.type):
            return f"its output '{output.field}' is {describe(output.type)}, and must be a text or a message"
        if node.id in maps_of(self.flow.transitions):
            return "it is the target of a map, and answers once per item"
        if self.result and output.field not in self.result:
            return f"'{output.field}' isn't in 'result'"
        return None

    def _is_live(self, node: PromptNode) -> bool:
        """Whether nothing can replace the reply: it isn't corrected, nor made again in a loop, nor written again."""
        output = node.outputs[0]
        if output.type not in (STR, MESSAGE) or node.tools:
            # A reply beyond the limits of a type is sent back to the model, and one that calls tools is no answer.
            return False
        writers = (name for name, each in self.flow.nodes.items() if output.field in {o.field for o in each.outputs})
        return not self._following(node) & {node.id, *writers}

    def _following(self, node: PromptNode) -> frozenset[str]:
        """What may come after it, itself included if it is in a loop."""
        return frozenset[str]().union(*map(self.flow.reached_from, self.flow.successors[node.id]))


def let_callers_offer_tools(
    document: SourceDocument, fields: dict[str, Field], nodes: dict[str, Node], triggers: Mapping[str, Trigger]
) -> None:
    """Changes fields and nodes if a chat allows it. To be called before the document's tests are read."""
    for name, trigger in triggers.items():
        if isinstance(trigger.source, Chat) and trigger.source.caller_tools:
            path = ("triggers", name, "chat", "caller_tools")
            allow_caller_tools(document, fields, nodes, trigger.source.answer, path)


def _is_conversation(of: Field) -> bool:
    return core(of.type) == ListOf(MESSAGE) and not of.secret


def _is_answer(kind: Type) -> bool:
    return kind == MESSAGE or is_text(core(kind))
