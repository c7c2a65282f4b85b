"""The workflows that are models: those with a chat trigger that is live, as far as a key may see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from flowyard.access import Caller
from flowyard.api.workflows import WorkflowName
from flowyard.control.deliver import LiveTrigger
from flowyard.errors.requests import UnknownModel
from flowyard.language.nodes import PromptNode
from flowyard.language.triggers import Chat
from flowyard.language.values.formats import has_format
from flowyard.storage.triggers import StoredTrigger
from flowyard_gateway.parts import GatewayParts

_NAME: Final = TypeAdapter[str](WorkflowName)
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A workflow with its chat trigger."""

    live: LiveTrigger
    chat: Chat

    @property
    def name(self) -> str:
        return self.live.stored.workflow

    @property
    def needs_events(self) -> bool:
        """Whether a stream needs the events of the run: else its tokens and its end are enough."""
        return self.chat.show_steps or (self.chat.is_live and not self.chat.is_last)

    @property
    def needs_turn(self) -> bool:
        """Whether the answering node can ask its model nothing if all messages are of the system."""
        node = self.live.workflow.nodes[self.chat.answer]
        if not isinstance(node, PromptNode) or node.history is None or node.prompt is not None:
            return False
        return node.history.messages.names == {self.chat.messages}

    @property
    def writes_workflows(self) -> bool:
        """Whether an answer may have a document: it has `format: workflow`."""
        return has_format(self.live.workflow.fields[self.chat.output].type)


async def chat_model(parts: GatewayParts, caller: Caller, name: str) -> ChatModel:
    """Raises UnknownModel; InvalidDocument if this version of Flowyard refuses what an older one accepted."""
    stored = await live_trigger(parts, caller, name)
    live = LiveTrigger(stored, await parts.control.documents.get(stored.workflow, stored.definition, stored.digest))
    source = live.trigger.source
    if not isinstance(source, Chat):
        raise UnknownModel(name[:_SHOWN])
    return ChatModel(live, source)


async def live_trigger(parts: GatewayParts, caller: Caller, name: str) -> StoredTrigger:
    """The chat trigger of a workflow. Raises UnknownModel."""
    may_be = _is_name(name) and (caller.workflows is None or name in caller.workflows)
    stored = await parts.triggers.only("chat", name) if may_be else None
    if stored is None or not stored.is_live:
        raise UnknownModel(name[:_SHOWN])
    return stored


def _is_name(text: str) -> bool:
    """What can't be a name isn't looked up: Postgres doesn't take each text."""
    try:
        _NAME.validate_python(text)
    except ValidationError:
        return False
    return True


async def live_triggers(parts: GatewayParts, caller: Caller) -> list[StoredTrigger]:
    """Of all models that the caller's key is for."""
    stored = await parts.triggers.of_kind("chat")
    return [each for each in stored if each.is_live and (caller.workflows is None or each.workflow in caller.workflows)]
