"""Lets callers of a chat hand their tools to the node that answers."""

from __future__ import annotations

from dataclasses import replace

from flowyard.language.caller_tools import CALLER_FIELD
from flowyard.language.nodes import CALLER, Node, PromptNode
from flowyard.language.problems import KeyPath
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.workflow import Field


def allow_caller_tools(
    document: SourceDocument, fields: dict[str, Field], nodes: dict[str, Node], answer: str, path: KeyPath
) -> None:
    """Adds the input to the fields, and changes the node `answer`. Reports a node that can't hand out calls at `path`.

    To be called once all nodes are read, and before the document's tests are.
    """
    if CALLER in fields:
        message = f"'{CALLER}' is the input with the tools of callers"
        document.error("reserved-name", ("state", "fields", CALLER), message, "choose another name", key=True)
        return
    node = nodes.get(answer)
    if not isinstance(node, PromptNode):
        return
    if node.reply_as != "message":
        written = node.outputs[0].field if len(node.outputs) == 1 else None
        hint = f"declare '{written}' as message" if written else "let it write one field of type message"
        message = f"'{answer}' can't hand out calls of tools: its answer is no message"
        document.error("type-mismatch", path, message, hint)
    if node.tools:
        message = f"'{answer}' can't hand out calls of tools: it has tools of its own"
        document.error("wrong-kind", path, message, "let another node answer, or remove one of both")
    fields[CALLER] = CALLER_FIELD
    nodes[answer] = replace(node, caller_tools=True)
