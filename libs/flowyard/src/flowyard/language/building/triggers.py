"""Reads `triggers`: where events come from, which of them start a run, and the inputs that they become."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowyard.errors.webhooks import UnusableWebhookSecret
from flowyard.language.building.chats import ChatReader
from flowyard.language.building.expressions import Scope, read_condition
from flowyard.language.building.hook_secrets import check_references, refuse_plain
from flowyard.language.building.mapped_values import ValueReader
from flowyard.language.building.mcp_tools import McpReader
from flowyard.language.building.messages import read_messages
from flowyard.language.building.replies import read_reply
from flowyard.language.building.schedules import read_schedule
from flowyard.language.flow import Flow
from flowyard.language.installation import Installation
from flowyard.language.nodes import SetValue
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.reading.triggers import HOOK_PATH, TRIGGER_NAME, OtherWorkflowShape, TriggerShape, WebhookShape
from flowyard.language.triggers import (
    EVENT,
    FIRE,
    REQUEST,
    WAIT_S,
    Chat,
    EndStatus,
    OtherWorkflow,
    Source,
    Trigger,
    Webhook,
)
from flowyard.language.values.types import Type
from flowyard.language.workflow import Field
from flowyard.webhooks.public_keys import check_public_key

_NAME: Final = re.compile(TRIGGER_NAME)
_PATH: Final = re.compile(HOOK_PATH)
_NOT_IN_A_PATH: Final = re.compile(r"[^A-Za-z0-9._~/-]+")
_LONGEST_WAIT_S: Final = 300.0
_KINDS: Final = ("webhook", "nats", "workflow", "schedule", "chat", "mcp")
_EXAMPLES: Final = {"fire": "fire.at", "payload": "payload.{key}", "request": "request.metadata.{key}"}
"""What an input can be filled with, by what the trigger's texts may name."""
_KEYS: Final[Mapping[str, str]] = {"public_key": "discord", "verify_token": "whatsapp"}
"""Keys that one kind of sender has alone."""


def read_triggers(
    shapes: Mapping[str, TriggerShape] | None,
    document: SourceDocument,
    fields: Mapping[str, Field],
    installation: Installation,
    *,
    name: str,
    result: Sequence[str],
    flow: Flow,
) -> dict[str, Trigger]:
    """The triggers that could be read. Reports what is wrong with them, and with the others.

    `name`: of the workflow. `result`: what it hands out; empty: all that it writes.
    """
    names = result or [each for each, field in fields.items() if not field.is_input]
    outputs = {each: fields[each].type for each in names if each in fields and not fields[each].secret}
    reader = _TriggerReader(
        document,
        fields,
        installation,
        name,
        {},
        outputs,
        ChatReader(document, fields, flow, frozenset(result)),
        McpReader(document, fields, flow, name),
    )
    triggers = {name: reader.trigger(name, shape, ("triggers", name)) for name, shape in (shapes or {}).items()}
    return {name: trigger for name, trigger in triggers.items() if trigger is not None}


def _names_of(shape: TriggerShape) -> Mapping[str, Type]:
    """What the texts of a trigger may name: that of its first kind."""
    kind = next((kind for kind in _KINDS if getattr(shape, kind) is not None), None)
    return {"schedule": FIRE, "chat": REQUEST}.get(kind or "", EVENT)


def _chain(chains: Mapping[str, Collection[str]], workflow: str, followed: str) -> list[str] | None:
    """The names from `followed` to `workflow`, each started by the next one; None: there is no such chain."""
    paths: dict[str, list[str]] = {followed: [followed]}
    waiting = deque([followed])
    while waiting:
        name = waiting.popleft()
        if name == workflow:
            return paths[name]
        for other in sorted(chains.get(name, ())):
            if other not in paths:
                paths[other] = [*paths[name], other]
                waiting.append(other)
    return None


@dataclass(frozen=True, slots=True)
class _TriggerReader:
    """`workflow`: its name. `paths`: of the webhooks that were read, with the names of their triggers.

    `outputs`: of its runs, with their types.
    """

    document: SourceDocument
    fields: Mapping[str, Field]
    installation: Installation
    workflow: str
    paths: dict[str, str]
    outputs: Mapping[str, Type]
    chats: ChatReader
    tools: McpReader

    def trigger(self, name: str, shape: TriggerShape, path: KeyPath) -> Trigger | None:
        if not _NAME.fullmatch(name):
            hint = "use letters, digits, _ and -, at most 64, and begin with a letter"
            self.document.error("bad-name", path, f"'{name[:80]}' can't be the name of a trigger", hint, key=True)
        if shape.mcp is not None and len([key for key in _KINDS if getattr(shape, key) is not None]) == 1:
            tool = self.tools.read(name, shape, shape.mcp, path)
            return Trigger(name, tool, {}, None, shape.enabled, shape.description)
        scope = Scope(_names_of(shape), {}, ())
        when = None
        if shape.when is not None and shape.chat is None:
            when = read_condition(self.document, (*path, "when"), shape.when, scope)
        source = self._source(name, shape, path)
        filled = self.chats.filled_by(source) if shape.chat is not None else frozenset[str]()
        inputs = self._inputs(name, shape.inputs or {}, path, scope, filled=filled)
        if source is None or isinstance(source, Chat):
            return Trigger(name, source, inputs, None, shape.enabled, shape.description) if source is not None else None
        reply = read_reply(self.document, self.installation, shape.reply, source, self.outputs, (*path, "reply"))
        return Trigger(name, source, inputs, when, shape.enabled, shape.description, reply)

    def _source(self, name: str, shape: TriggerShape, path: KeyPath) -> Source | None:
        given = [key for key in _KINDS if getattr(shape, key) is not None]
        for key in given[1:]:
            message = f"'{given[0]}' and '{key}' are two kinds of triggers"
            self.document.error("wrong-kind", (*path, key), message, "make a trigger of each", key=True)
        if shape.webhook is not None:
            return self._webhook(name, shape.webhook, (*path, "webhook"))
        if shape.nats is not None:
            return read_messages(shape.nats, self.document, self.installation, (*path, "nats"))
        if shape.workflow is not None:
            return self._other_workflow(shape.workflow, (*path, "workflow"))
        if shape.schedule is not None:
            return read_schedule(shape.schedule, self.document, (*path, "schedule"))
        if shape.chat is not None:
            return self.chats.read(name, shape, shape.chat, path)
        if not self.document.has_removed_key(path):
            message = f"the trigger '{name}' needs the key of its kind"
            hint = "add " + " or ".join(f"'{key}:'" for key in _KINDS)
            self.document.error("missing-key", path, message, hint, key=True)
        return None

    def _other_workflow(self, shape: OtherWorkflowShape, path: KeyPath) -> OtherWorkflow:
        if (cycle := _chain(self.installation.chains, self.workflow, shape.name)) is not None:
            shown = " after ".join(f"'{name}'" for name in (self.workflow, *cycle))
            message = f"a cycle: {shown}; only a 'when' or the limit of a chain ends it"
            self.document.warn("trigger-cycle", (*path, "name"), message)
        ends: tuple[EndStatus, ...] = tuple(dict.fromkeys(shape.status or ("succeeded",)))
        return OtherWorkflow(shape.name, ends)

    def _inputs(
        self, name: str, given: Mapping[str, Any], path: KeyPath, scope: Scope, *, filled: frozenset[str]
    ) -> dict[str, SetValue]:
        """`filled`: the inputs that the trigger fills without being told to."""
        reader, example = ValueReader(self.document, scope, {}), _EXAMPLES[min(_EXAMPLES.keys() & scope.types.keys())]
        values = {}
        for key, value in given.items():
            where = (*path, "inputs", key)
            values[key] = reader.value(value, where)
            if key in filled:
                message = f"'{key}' is filled with the messages of the request"
                self.document.error("invalid-inputs", where, message, "remove it", key=True)
            elif self._is_input(key, where):
                reader.check(key, values[key], self.fields[key].type, where)
        if self.document.has_removed_key(path) or self.document.has_removed_key((*path, "inputs")):
            return values
        for key, field in self.fields.items():
            if field.secret:
                message = f"'{key}' is secret: an event is stored, so it can't be filled by the trigger '{name}'"
                hint = "remove secret: true, or let a program run the workflow"
                self.document.error("secret-use", path, message, hint, key=True)
            elif field.required and key not in given and key not in filled:
                message = f"the trigger '{name}' doesn't fill the required input '{key}'"
                hint = f"add inputs: {{{key}: '{{{example.format(key=key)}}}'}}"
                self.document.error("invalid-inputs", path, message, hint, key=True)
        return values

    def _is_input(self, key: str, where: KeyPath) -> bool:
        field = self.fields.get(key)
        if field is not None and field.is_input:
            return not field.secret
        inputs = [name for name, other in self.fields.items() if other.is_input]
        reason = "is written by the workflow, so it isn't an input" if field is not None else "isn't an input"
        self.document.error("invalid-inputs", where, f"'{key}' {reason}", suggest(key, inputs, "inputs"), key=True)
        return False

    def _webhook(self, name: str, shape: WebhookShape, path: KeyPath) -> Webhook:
        self._check_path(name, shape.path, (*path, "path"))
        for key, kind in _KEYS.items():
            if getattr(shape, key) is not None and shape.kind != kind:
                message = f"'{key}' has no meaning with kind '{shape.kind}'"
                self.document.error("wrong-kind", (*path, key), message, f"it belongs to kind: {kind}", key=True)
        secret_key = "public_key" if shape.kind == "discord" else "secret"
        if shape.kind == "discord" and shape.secret is not None:
            message = "Discord signs with a private key: a webhook has its public one"
            self.document.error("wrong-kind", (*path, "secret"), message, "write public_key", key=True)
        self._check_secrets(shape, path, secret_key)
        wait_s = WAIT_S if shape.wait is True else float(shape.wait or 0)
        if wait_s > _LONGEST_WAIT_S:
            message = f"'wait' must be at most {_LONGEST_WAIT_S:g} seconds"
            self.document.error("out-of-range", (*path, "wait"), message)
        return Webhook(
            path=shape.path,
            sender=shape.kind,
            secrets=tuple(getattr(shape, secret_key) or ()),
            verify_tokens=tuple(shape.verify_token or ()),
            is_open=shape.auth == "none",
            wait_s=wait_s,
            body_limit=shape.limits.body if shape.limits else None,
            rate=shape.limits.rate if shape.limits else None,
        )

    def _check_path(self, name: str, given: str, path: KeyPath) -> None:
        if not _PATH.fullmatch(given):
            right = _NOT_IN_A_PATH.sub("-", given.strip("/").removeprefix("hooks/")).strip("/-")
            hint = f"write path: {right}" if _PATH.fullmatch(right) else "write path: orders"
            self.document.error("bad-name", path, f"'{given[:80]}' can't be the path of a webhook", hint)
        elif (other := self.paths.setdefault(given, name)) != name:
            message = f"the path '{given}' is that of the trigger '{other}', too"
            self.document.error("duplicate-path", path, message, "give each webhook its own path")

    def _check_secrets(self, shape: WebhookShape, path: KeyPath, secret_key: str) -> None:
        given: Sequence[str] | None = getattr(shape, secret_key)
        if shape.auth is not None:
            self._check_open(shape, path, secret_key)
        elif given is None and not self.document.has_removed_key(path):
            message = f"everybody could start runs by this webhook: it needs '{secret_key}'"
            hint = f"add {secret_key}: ${{env:NAME_WEBHOOK_SECRET}}"
            hint += ", or auth: none if everybody may" if shape.kind == "generic" else ""
            self.document.error("missing-secret", path, message, hint, key=True)
        if shape.kind == "whatsapp" and shape.verify_token is None and not self.document.has_removed_key(path):
            message = "'verify_token' is missing: Meta asks for it before it sends anything"
            hint = "add verify_token: ${env:WHATSAPP_VERIFY_TOKEN}"
            self.document.error("missing-secret", path, message, hint, key=True)
        for key in (secret_key, "verify_token"):
            self._check_references(key, getattr(shape, key) or (), (*path, key))

    def _check_open(self, shape: WebhookShape, path: KeyPath, secret_key: str) -> None:
        where = (*path, "auth")
        if shape.kind != "generic":
            message = f"webhooks of kind '{shape.kind}' are always verified"
            self.document.error("invalid-value", where, message, f"write '{secret_key}' instead", key=True)
        elif shape.secret is not None:
            message = "'auth: none' contradicts 'secret'"
            self.document.error("invalid-value", where, message, "remove one of them", key=True)
        else:
            message = f"everybody who can reach /hooks/{shape.path} can start runs: nobody is verified"
            self.document.warn("open-webhook", where, message)

    def _check_references(self, key: str, texts: Sequence[str], path: KeyPath) -> None:
        def plain(text: str, where: KeyPath) -> None:
            if key != "public_key":
                refuse_plain(self.document, key, where)
                return
            try:
                check_public_key(text)
            except UnusableWebhookSecret:
                message = "'public_key' must be 64 hexadecimal digits in lower case"
                self.document.error("invalid-value", where, message, "copy it from Discord's developer portal")

        check_references(self.document, self.installation, texts, path, plain)
