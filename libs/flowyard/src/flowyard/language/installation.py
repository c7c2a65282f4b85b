"""What the installation adds to a document's checks: what it knows of models, and what it allows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from flowyard.language.code_bounds import CodeBounds
from flowyard.language.mcp_servers import McpServer
from flowyard.language.nodes import ModelSettings
from flowyard.language.secret_references import OWN_PREFIX
from flowyard.language.tools import NO_RULES, ToolFacts, ToolRules
from flowyard.language.workflow import Budget

_PATTERN: Final = re.compile(r"[A-Za-z0-9_*]+")


@dataclass(frozen=True, slots=True)
class Variables:
    """The environment variables that documents may name, so that their values are sent to a provider.

    `patterns`: names, in which `*` stands for any characters.
    """

    patterns: tuple[str, ...] = ("*_API_KEY", "*_TOKEN")

    def __str__(self) -> str:
        return ",".join(self.patterns)

    def allow(self, name: str) -> bool:
        """Our own variables, which give access to our servers, are never allowed."""
        own = name.upper().startswith(OWN_PREFIX)
        return not own and any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def with_name(self, name: str) -> str:
        """What FLOWYARD_DOCUMENT_VARIABLES would have to be to allow the name, too."""
        return ",".join((*self.patterns, name))


KEYS_AND_TOKENS: Final = Variables()
HOOK_SECRETS: Final = Variables((
    "*_WEBHOOK_SECRET", "*_SIGNING_SECRET", "*_APP_SECRET", "*_VERIFY_TOKEN", "*_BOT_TOKEN", "DISCORD_PUBLIC_KEY",
    "TWILIO_AUTH_TOKEN", "WHATSAPP_ACCESS_TOKEN",
))  # fmt: skip
"""The variables that webhooks may name. None of them is a key of a model's provider, which no gateway needs to have."""
ANY_VARIABLE: Final = Variables(("*",))
NOTHING: Final = Variables(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """`has_price`: whether the cost of a model's calls is known before they are made.

    `code_bounds`: what code nodes may ask of sandboxes.

    `chains`: by the name of each workflow that is started by the ends of others' runs, the names of these others.
    `subjects`: of NATS, which triggers may name.
    `daily_budgets`: what workflows may spend per day. `hook_variables`: as `variables`, for the secrets of webhooks.
    `tools`: those that nodes may name; None: that isn't known. `tool_rules`: what is said of them.
    `mcp_servers`: by their names, those of which it isn't known which tools they have.
    `uneven_tools`: why one of them may not be there, or be another, wherever a run is executed.
    """

    has_price: Callable[[ModelSettings], bool] = lambda _: True
    variables: Variables = ANY_VARIABLE
    hook_variables: Variables = ANY_VARIABLE
    daily_budgets: Mapping[str, Budget] = field(default_factory=dict)
    chains: Mapping[str, Collection[str]] = field(default_factory=dict)
    subjects: tuple[str, ...] = (">",)
    tools: Mapping[str, ToolFacts] | None = None
    tool_rules: ToolRules = NO_RULES
    mcp_servers: Mapping[str, McpServer] = field(default_factory=dict)
    uneven_tools: Mapping[str, str] = field(default_factory=dict)
    code_bounds: CodeBounds = CodeBounds()  # noqa: RUF009  # frozen


ANY: Final = Installation()
"""Refuses nothing: for documents that are only read."""


def read_variables(text: str | Variables) -> Variables:
    """`FLOWYARD_DOCUMENT_VARIABLES`, `FLOWYARD_HOOK_VARIABLES`: patterns, separated by commas. Raises ValueError."""
    if not isinstance(text, str):
        return text
    patterns = tuple(part.strip() for part in text.split(","))
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(f"should be names with *, separated by commas: '{pattern}' is none")
    return Variables(patterns)
