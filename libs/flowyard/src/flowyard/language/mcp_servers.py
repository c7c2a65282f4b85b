"""Servers of MCP whose tools nodes may call: those of the installation, and those that a document names. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flowyard.language.tools import Effect, matches

NAME: Final = r"^[a-z][a-z0-9_]{0,31}$"
MOST_SERVERS: Final = 32
"""Of an installation, and of a document."""
CALL_S: Final = 30.0
_NAME: Final = re.compile(NAME)
_ANY_TOOL: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """`timeout`: seconds that a call may take. `tools`: patterns of the tools that may be used, by the server's names.

    `effects`: of all its tools; None: see `effects_of`. `trusted`: its own word for a tool that only reads is taken.
    """

    name: str
    timeout: float = CALL_S
    tools: tuple[str, ...] = (_ANY_TOOL,)
    effects: frozenset[Effect] | None = None
    trusted: bool = False

    def offers(self, tool: str) -> bool:
        return any(matches(tool, pattern) for pattern in self.tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteServer(_Server):
    """A server that is reached by HTTP. Headers may contain `${env:NAME}`. `of_document`: a document names it."""

    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    of_document: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer(_Server):
    """A program that is started. `env`: its variables besides a few harmless ones; they may contain `${env:NAME}`."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cwd: str | None = None


McpServer: TypeAlias = RemoteServer | LocalServer


def values_of(server: McpServer) -> tuple[tuple[str, str], ...]:
    """Its headers, or its variables, in which there may be references."""
    return server.headers if isinstance(server, RemoteServer) else server.env


def effects_of(server: McpServer, *, read_only: bool) -> frozenset[Effect]:
    """What a tool of the server may do. `read_only`: the server says that it changes nothing."""
    if server.trusted and read_only:
        return frozenset({"reads"})
    if server.effects is not None:
        return server.effects
    return frozenset({"runs"}) if isinstance(server, LocalServer) else frozenset({"network"})


def name_fault(name: str) -> str | None:
    """Why this can't be the name of a server, or None."""
    if not _NAME.fullmatch(name):
        return f"'{name[:100]}' can't be the name of a server: use up to 32 of a-z, 0-9 and _, beginning with a letter"
    return None
