"""What documents know of tools: what each is and may do, and which of them a node may use, with what. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from flowyard.language.mcp_servers import RemoteServer
    from flowyard.language.openapi.of_documents import RemoteApi

Effect: TypeAlias = Literal["reads", "writes", "runs", "network"]
"""What a tool does outside of its arguments and its result: `reads` files or data of the installation, `writes` them,
`runs` programs, or sends something over the `network`. A tool without effects computes, and no more.
"""
OnToolError: TypeAlias = Literal["continue", "fail"]
Answer: TypeAlias = Literal["allow", "document", "deny"]
"""What an installation says of a tool. `document`: each document decides for itself."""

NEEDS_PERMISSION: Final[frozenset[Effect]] = frozenset({"writes", "runs", "network"})
"""Who has one of these effects is denied until the installation or the document allows it."""
NAME: Final = r"[A-Za-z][A-Za-z0-9_-]*(?:[.][A-Za-z0-9_-]+)*"
LONGEST_NAME: Final = 64
"""Characters of a name: providers take no more."""
ANY_OF: Final = ".*"
MOST_ROUNDS: Final = 8
"""Replies of a model that may call tools, in one step, unless the document says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFacts:
    """A tool, as documents and models know it. `parameters`: the JSON Schema of its arguments, an object.

    `guarded`: the argument, a text or a list of them, that patterns of permissions are compared with; else None.
    `once`: a call whose outcome is unknown is never made again.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    effects: frozenset[Effect] = frozenset()
    guarded: str | None = None
    once: bool = False

    @property
    def needs_permission(self) -> bool:
        return bool(self.effects & NEEDS_PERMISSION)

    @property
    def wire_name(self) -> str:
        """The name for models: providers take no dots."""
        return wire_name(self.name)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The schemas of its arguments, by name."""
        properties: Mapping[str, Any] = self.parameters.get("properties") or {}
        return properties

    @property
    def required(self) -> Collection[str]:
        required: Collection[str] = self.parameters.get("required") or ()
        return required

    @property
    def data(self) -> dict[str, Any]:
        """As it is announced and shown, of JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
            "effects": sorted(self.effects),
            "guarded": self.guarded,
            "once": self.once,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ToolFacts:
        """The reverse of `data`. Raises ValueError for what is no tool; keys that it doesn't know are left out."""
        match data:
            case {"name": str(name), "description": str(description), "parameters": dict(parameters)}:
                pass
            case _:
                raise ValueError("a tool has a name, a description and parameters")
        if (fault := name_fault(name)) is not None:
            raise ValueError(fault)
        effects, guarded = data.get("effects") or [], data.get("guarded")
        if not all(effect in get_args(Effect) for effect in effects):
            # An effect of a later version may need permission, of which this one knows nothing.
            raise ValueError(f"'{name}' has effects that aren't known")
        return cls(
            name=name, description=description, parameters=parameters, effects=frozenset(effects),
            guarded=guarded if isinstance(guarded, str) else None, once=bool(data.get("once")),
        )  # fmt: skip


def name_fault(name: str) -> str | None:
    """Why no tool can have this name; None: it can."""
    if len(name) > LONGEST_NAME:
        return f"the name '{name[:LONGEST_NAME]}…' of a tool has more than {LONGEST_NAME} characters"
    if not re.fullmatch(NAME, name):
        return f"'{name}' should be letters, digits, _ and -, and dots between them"
    return None


def wire_name(name: str) -> str:
    return name.replace(".", "_")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool of a node, and what the document permits. `name`: `server.*` stands for all tools of a server of MCP.

    `allow`: patterns, of which one must match; None: it says nothing; empty: everything is allowed.
    `deny`: patterns that no call may match. `server`: or API, of the document, whose tool it is.
    """

    name: str
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    server: RemoteServer | RemoteApi | None = None

    @property
    def is_pattern(self) -> bool:
        return self.name.endswith(ANY_OF)

    def stands_for(self, name: str) -> bool:
        return name.startswith(self.name.removesuffix("*")) if self.is_pattern else name == self.name


@dataclass(frozen=True, slots=True)
class ToolRules:
    """What an installation says of tools: answers by patterns of names. The first pattern that matches decides."""

    answers: Mapping[str, Answer] = field(default_factory=dict)

    def __str__(self) -> str:
        return json.dumps(dict(self.answers)) if self.answers else ""

    def answer(self, name: str) -> Answer:
        return next((answer for pattern, answer in self.answers.items() if matches(name, pattern)), "document")


NO_RULES: Final = ToolRules()


def read_rules(text: str | ToolRules) -> ToolRules:
    """`FLOWYARD_TOOL_RULES`: JSON, an answer by pattern of names. Raises ValueError."""
    if not isinstance(text, str):
        return text
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"should be JSON: {error}") from error
    if not isinstance(given, dict):
        raise ValueError('should be a JSON object: {"http.*": "deny"}')  # noqa: TRY004  # what settings catch
    for pattern, answer in given.items():
        if answer not in get_args(Answer):
            raise ValueError(f"'{pattern}' should be one of {', '.join(get_args(Answer))}, not {answer!r}")
    return ToolRules(given)


def matches(text: str, pattern: str) -> bool:
    """Whether the text is as the pattern, in which `*` stands for any characters and nothing else is special."""
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))


def why_denied(tool: ToolFacts, use: ToolUse, rules: ToolRules, arguments: Mapping[str, Any]) -> str | None:
    """Why this call isn't permitted; None: it is."""
    answer = rules.answer(tool.name)
    if answer == "deny":
        return f"the installation denies {tool.name}"
    if use.allow is None and tool.needs_permission and answer != "allow":
        return f"the workflow doesn't allow {tool.name}"
    if tool.guarded is None or tool.guarded not in tool.arguments:
        # What is made of the arguments is compared by the tool, which knows it.
        return None
    guarded = arguments.get(tool.guarded, "")
    values = map(str, guarded) if isinstance(guarded, list) else (str(guarded),)
    return next((why for value in values if (why := why_value_denied(tool, use, value)) is not None), None)


def why_value_denied(tool: ToolFacts, use: ToolUse, guarded: str) -> str | None:
    """Why the document doesn't permit the tool this value of its guarded argument; None: it does."""
    if any(matches(guarded, pattern) for pattern in use.deny):
        return f"the workflow denies {tool.name} this '{tool.guarded}'"
    if use.allow and not any(matches(guarded, pattern) for pattern in use.allow):
        return f"the workflow allows {tool.name} no such '{tool.guarded}'"
    return None
