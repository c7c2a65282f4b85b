"""Reads `reply` of a trigger: what is sent back to the chat that an event came from."""

from __future__ import annotations

from collections.abc import Mapping

from flowyard.chats.platforms import CHATS, PLATFORMS, chat_of
from flowyard.language.building.hook_secrets import check_references, refuse_plain
from flowyard.language.building.mapped_values import read_template
from flowyard.language.installation import Installation
from flowyard.language.problems import KeyPath
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.reading.triggers import ReplyShape
from flowyard.language.replies import FAILED, Reply
from flowyard.language.triggers import Source, Webhook
from flowyard.language.values.types import Type

_TOKENS: Mapping[str, str] = {"telegram": "TELEGRAM_BOT_TOKEN", "whatsapp": "WHATSAPP_ACCESS_TOKEN"}


def read_reply(
    document: SourceDocument,
    installation: Installation,
    given: str | ReplyShape | None,
    source: Source,
    outputs: Mapping[str, Type],
    path: KeyPath,
) -> Reply | None:
    """None: there is none, or none that could be sent. `outputs`: of a run, with their types. Reports its problems."""
    if given is None:
        return None
    short = isinstance(given, str)
    shape = ReplyShape(text=given) if isinstance(given, str) else given
    read_template(document, shape.text, path if short else (*path, "text"), outputs, {})
    chat = chat_of(source.sender) if isinstance(source, Webhook) else None
    if chat is None or not isinstance(source, Webhook):
        message = "'reply' has no meaning here: what comes for this trigger doesn't come from a chat"
        hint = f"it belongs to webhooks with kind: {', '.join(CHATS[:-1])} or {CHATS[-1]}"
        document.error("wrong-kind", path, message, hint, key=True)
        return None
    if source.wait_s:
        message = "'reply' and 'wait' are two ways to answer"
        document.error("wrong-kind", path, message, "remove 'wait': the reply is sent when the run has ended", key=True)
    if PLATFORMS[chat].needs_token and shape.token is None and not document.has_removed_key(path):
        message = f"'token' is missing: without it, nothing can be sent to {chat}"
        hint = f"write reply: {{text: '…', token: '${{env:{_TOKENS[chat]}}}'}}"
        document.error("missing-secret", path, message, hint, key=True)

    def plain(_text: str, where: KeyPath) -> None:
        refuse_plain(document, "token", where)

    check_references(document, installation, [shape.token] if shape.token is not None else [], (*path, "token"), plain)
    return Reply(chat, shape.text, FAILED if shape.failed is None else shape.failed, shape.token)
