"""Reads the tools of nodes, and checks that they exist and may be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flowyard.language.installation import Installation
from flowyard.language.older_tools import INSTEAD, OLDER_NAMES
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.reading.tools import ToolPermissionShape
from flowyard.language.tools import ToolFacts, ToolUse

_EVERYTHING: Final = "*"
_DENIED: Final = "tool-denied"


@dataclass(frozen=True, slots=True)
class ToolReader:
    document: SourceDocument
    installation: Installation

    def facts(self, name: str) -> ToolFacts | None:
        """None: there is no such tool, or it isn't known which there are."""
        return (self.installation.tools or {}).get(name)

    def read_all(self, given: Sequence[str | Mapping[str, ToolPermissionShape]], path: KeyPath) -> tuple[ToolUse, ...]:
        uses: dict[str, ToolUse] = {}
        for i, each in enumerate(given):
            use = self.read(each, (*path, i))
            if use.name in uses:
                self.document.error("duplicate-tool", (*path, i), f"'{use.name}' is listed twice", "remove one of them")
            uses.setdefault(use.name, use)
        return tuple(uses.values())

    def read(self, given: str | Mapping[str, ToolPermissionShape], path: KeyPath) -> ToolUse:
        if isinstance(given, str):
            use = ToolUse(self._name(given, path, key=False))
        else:
            [(name, permission)] = given.items()
            path = (*path, name)
            allow = tuple(permission.allow) if permission.allow is not None else None
            use = ToolUse(self._name(name, path, key=True), allow, tuple(permission.deny or ()))
        self._check(use, path, key=not isinstance(given, str))
        return use

    def _name(self, name: str, path: KeyPath, *, key: bool) -> str:
        """The name of the tool that does what one with an older name did."""
        tools, newer = self.installation.tools, OLDER_NAMES.get(name)
        if newer is None or (tools is not None and (name in tools or newer not in tools)):
            return name
        self.document.warn("older-tool-name", path, f"'{name}' is read as '{newer}': write that", key=key)
        return newer

    def _check(self, use: ToolUse, path: KeyPath, *, key: bool) -> None:
        """`key`: the name is the last key of the path, and not the value there."""
        tools, name = self.installation.tools, use.name
        if tools is None:
            return
        if name not in tools:
            hint = INSTEAD.get(name) or suggest(name, tools, "tools")
            self.document.error("unknown-tool", path, f"no tool '{name}'", hint, key=key)
            return
        facts, answer = tools[name], self.installation.tool_rules.answer(name)
        if answer == "deny":
            message = f"this installation denies '{name}'"
            self.document.error(_DENIED, path, message, "remove it, or let FLOWYARD_TOOL_RULES allow it", key=key)
        elif facts.needs_permission and use.allow is None and answer != "allow":
            message = f"'{name}' needs permission: {', '.join(sorted(facts.effects))}"
            pattern = f"patterns of its '{facts.guarded}'" if facts.guarded else "'*'"
            self.document.error(_DENIED, path, message, f"write {name}: {{allow: [{pattern}]}}", key=key)
        if (why := self.installation.uneven_tools.get(name)) is not None:
            self.document.warn("uneven-tool", path, f"a call of '{name}' may fail: {why}", key=key)
        patterns = [pattern for pattern in (*(use.allow or ()), *use.deny) if pattern != _EVERYTHING]
        if facts.guarded is None and patterns:
            message = f"'{name}' has no argument to compare with '{patterns[0]}'"
            self.document.error("tool-pattern", path, message, "write '*', or remove it", key=key)
