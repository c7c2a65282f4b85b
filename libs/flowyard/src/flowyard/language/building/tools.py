"""Reads the tools of nodes, and checks that they exist and may be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowyard.language.addresses import url_fault
from flowyard.language.building.mcp_servers import check_headers
from flowyard.language.installation import Installation
from flowyard.language.mcp_servers import RemoteServer, effects_of
from flowyard.language.older_tools import INSTEAD, OLDER_NAMES
from flowyard.language.openapi.description import ADDRESS
from flowyard.language.openapi.of_documents import RemoteApi, name_from
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.reading.tools import ApiShape, ToolPermissionShape
from flowyard.language.tools import ANY_OF, Effect, ToolFacts, ToolUse, name_fault

_EVERYTHING: Final = "*"
_DENIED: Final = "tool-denied"
_OF_API: Final[frozenset[Effect]] = frozenset({"network", "writes"})


@dataclass(frozen=True, slots=True)
class ToolReader:
    document: SourceDocument
    installation: Installation
    servers: Mapping[str, RemoteServer]
    """Of the document."""

    def facts(self, name: str) -> ToolFacts | None:
        """None: there is no such tool, or it isn't known which there are."""
        return (self.installation.tools or {}).get(name)

    def read_all(
        self, given: Sequence[str | Mapping[str, ToolPermissionShape] | ApiShape], path: KeyPath
    ) -> tuple[ToolUse, ...]:
        uses: dict[str, ToolUse] = {}
        for i, each in enumerate(given):
            for use in self._of_api(each, (*path, i)) if isinstance(each, ApiShape) else [self.read(each, (*path, i))]:
                if use.name in uses:
                    message = f"'{use.name}' is listed twice"
                    self.document.error("duplicate-tool", (*path, i), message, "remove one of them")
                uses.setdefault(use.name, use)
        return tuple(uses.values())

    def read_single(self, given: str | Mapping[str, ToolPermissionShape] | ApiShape, path: KeyPath) -> ToolUse:
        if not isinstance(given, ApiShape):
            return self.read(given, path)
        if len(given.operations) > 1:
            message = "a tool node calls one operation"
            self.document.error("invalid-value", (*path, "operations"), message, "name one of them")
        uses = self._of_api(given, path)
        return uses[0] if uses else ToolUse("")

    def _of_api(self, shape: ApiShape, path: KeyPath) -> list[ToolUse]:
        """A use for each operation."""
        if not shape.openapi.startswith(("http://", "https://")):
            message = "a document can't name a file: its services have other files"
            hint = "let FLOWYARD_OPENAPI name it, or write https://HOST/PATH"
            self.document.error("invalid-value", (*path, "openapi"), message, hint)
        for key, address in (("openapi", shape.openapi), ("server", shape.server)):
            if address is not None and address.startswith("http") and (fault := url_fault(address)) is not None:
                self.document.error("invalid-value", (*path, key), f"'{key}' {fault}", "write https://HOST/PATH")
        check_headers(shape.headers, self.document, self.installation, (*path, "headers"))
        api = RemoteApi(
            name=shape.name or name_from(shape.openapi),
            openapi=shape.openapi,
            operations=tuple(shape.operations),
            server=shape.server,
            headers=tuple((shape.headers or {}).items()),
        )
        allow = tuple(shape.allow) if shape.allow is not None else None
        uses = []
        for i, operation in enumerate(shape.operations):
            name = f"{api.name}.{operation}"
            if (fault := name_fault(name)) is not None:
                self.document.error("bad-name", (*path, "operations", i), fault)
                continue
            uses.append(use := ToolUse(name, allow, tuple(shape.deny or ()), server=api))
            self._check(use, path, key=False)
        return uses

    def read(self, given: str | Mapping[str, ToolPermissionShape], path: KeyPath) -> ToolUse:
        if isinstance(given, str):
            use = ToolUse(self._name(given, path, key=False))
        else:
            [(name, permission)] = given.items()
            path = (*path, name)
            allow = tuple(permission.allow) if permission.allow is not None else None
            use = ToolUse(self._name(name, path, key=True), allow, tuple(permission.deny or ()))
        use = replace(use, server=self.servers.get(use.name.partition(".")[0]))
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
        if self.installation.tools is None and use.server is None:
            return
        matching = self._matching(use)
        if matching is None:
            known = [*(self.installation.tools or ()), *(f"{name}{ANY_OF}" for name in self.servers)]
            hint = INSTEAD.get(use.name) or suggest(use.name, known, "tools")
            self.document.error("unknown-tool", path, f"no tool '{use.name}'", hint, key=key)
            return
        for facts in matching:
            if self._is_denied(use, facts, path, key=key):
                break
        uneven = self.installation.uneven_tools
        for facts in matching:
            if (why := uneven.get(facts.name)) is not None:
                self.document.warn("uneven-tool", path, f"a call of '{facts.name}' may fail: {why}", key=key)
        patterns = [pattern for pattern in (*(use.allow or ()), *use.deny) if pattern != _EVERYTHING]
        unguarded = next((facts for facts in matching if facts.guarded is None), None)
        if unguarded is not None and patterns:
            message = f"'{unguarded.name}' has no argument to compare with '{patterns[0]}'"
            self.document.error("tool-pattern", path, message, "write '*', or remove it", key=key)

    def _matching(self, use: ToolUse) -> Sequence[ToolFacts] | None:
        """What is known of the tools that it stands for. None: there is none; empty: nothing is known."""
        server_name, _, tool_name = use.name.partition(".")
        server = use.server or self.installation.mcp_servers.get(server_name)
        if isinstance(server, RemoteApi):
            # What an operation does, is known when its description is read.
            return [ToolFacts(name=use.name, description="", parameters={}, effects=_OF_API, guarded=ADDRESS)]
        if server is not None:
            if not tool_name or not (use.is_pattern or server.offers(tool_name)):
                return None
            # Which tools it has, is known when the step begins.
            effects = effects_of(server, read_only=server.trusted)
            return [ToolFacts(name=use.name, description="", parameters={}, effects=effects)]
        tools = self.installation.tools or {}
        return [facts for name, facts in tools.items() if use.stands_for(name)] or None

    def _is_denied(self, use: ToolUse, facts: ToolFacts, path: KeyPath, *, key: bool) -> bool:
        answer = self.installation.tool_rules.answer(facts.name)
        if answer == "deny":
            message = f"this installation denies '{facts.name}'"
            self.document.error(_DENIED, path, message, "remove it, or let FLOWYARD_TOOL_RULES allow it", key=key)
        elif facts.needs_permission and use.allow is None and answer != "allow":
            message = f"'{facts.name}' needs permission: {', '.join(sorted(facts.effects))}"
            pattern = f"patterns of its '{facts.guarded}'" if facts.guarded else "'*'"
            hint = f"allow: [{pattern}]" if isinstance(use.server, RemoteApi) else f"{use.name}: {{allow: [{pattern}]}}"
            self.document.error(_DENIED, path, message, f"write {hint}", key=key)
        else:
            return False
        return True
