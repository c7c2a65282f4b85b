"""A workflow as the engine sees it: checked, complete, frozen, without positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from flowyard.language.values.expressions import Expression
from flowyard.language.values.templates import Template
from flowyard.language.values.types import Type
from flowyard.runs.budget import Budget

START: Final = "START"
END: Final = "END"

Reduce: TypeAlias = Literal["replace", "append", "extend", "merge", "add", "max", "min"]
Durability: TypeAlias = Literal["sync", "async", "exit"]
OnItemError: TypeAlias = Literal["fail", "skip", "collect"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the state. `default` counts only if `has_default`. `secret`: an input that is never shown."""

    name: str
    type: Type
    required: bool = False
    has_default: bool = False
    default: Any = None
    description: str | None = None
    reduce: Reduce = "replace"
    secret: bool = False

    @property
    def is_input(self) -> bool:
        return self.required or self.has_default


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model answers, and how it is asked. `timeout`: seconds of one call. `extra` goes to the provider as is."""

    provider: str
    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float = 120.0
    api_base: str | None = None
    api_key_env: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    fallbacks: tuple[ModelSettings, ...] = ()

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed step is tried again. Times are seconds. `errors`: the codes that are worth it."""

    max_retries: int = 3
    errors: frozenset[str] = frozenset({"rate_limited", "timeout", "provider_error", "invalid_output"})
    initial_delay: float = 1.0
    multiplier: float = 2.0
    max_delay: float = 60.0


@dataclass(frozen=True, slots=True)
class Goto:
    """`on_error: {goto: node}`."""

    node: str


OnError: TypeAlias = Literal["fail", "continue"] | Goto


@dataclass(frozen=True, slots=True)
class Output:
    """One value that a node writes. For a field with `reduce: append` the type is that of one element."""

    field: str
    type: Type
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A question and its answer that are shown to the model before the real question."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PromptNode:
    """A node whose work is one question to a model. `timeout`: seconds of the step, its retries included.

    `reply_as`: whether the reply is the one output's text itself, or a JSON object of the outputs.
    """

    id: str
    prompt: Template
    outputs: tuple[Output, ...]
    settings: ModelSettings
    reply_as: Literal["text", "object"] = "text"
    system: Template | None = None
    inputs: Mapping[str, Template | int | float | bool | None] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    timeout: float | None = None
    retry: RetryPolicy = RetryPolicy()
    on_error: OnError = "fail"
    log_prompts: bool = False
    name: str | None = None
    description: str | None = None

    @property
    def names_read(self) -> frozenset[str]:
        """The names that its templates may look up."""
        templates = [self.prompt, *([self.system] if self.system else [])]
        templates += [value for value in self.inputs.values() if isinstance(value, Template)]
        return frozenset().union(*(template.names for template in templates))


Node: TypeAlias = PromptNode
"""Every kind of node. Kinds to come join this union, and every `match` over it must then learn them."""


@dataclass(frozen=True, slots=True)
class Next:
    """Unconditional: all of `to` come next, in parallel if they are several. END among them ends the branch."""

    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    condition: Expression
    to: str


@dataclass(frozen=True, slots=True)
class Routes:
    """The first route whose condition holds, else `default`."""

    routes: tuple[Route, ...]
    default: str


@dataclass(frozen=True, slots=True)
class Loop:
    """Back to `to` until `until` holds or the body ran `max_iterations` times; then `exit_to`."""

    to: str
    until: Expression
    max_iterations: int
    exit_to: str


@dataclass(frozen=True, slots=True)
class Map:
    """`target` once per item of `items_field`; the results, in the items' order, into `collect_field`."""

    target: str
    items_field: str
    collect_field: str
    item: str = "item"
    max_concurrency: int | None = None
    on_item_error: OnItemError = "fail"


Way: TypeAlias = Next | Routes | Loop | Map
"""How a run goes on after a node."""


@dataclass(frozen=True, slots=True)
class Execution:
    """`config.execution`. `timeout`: seconds of the whole run."""

    timeout: float | None = None
    durability: Durability = "sync"
    concurrency: int | None = None
    priority: int = 0
    max_attempts: int = 3


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A canned failure: the error code that the scripted model raises."""

    code: str


Reply: TypeAlias = str | ErrorReply


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a test case demands. None: not asked."""

    status: Literal["succeeded", "failed"] = "succeeded"
    outputs: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[str, ...] | None = None
    error: str | None = None
    calls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a document. `replies`: per node its canned replies; one alone answers every call."""

    name: str
    inputs: Mapping[str, Any]
    replies: Mapping[str, Reply | tuple[Reply, ...]]
    expect: Expectation


@dataclass(frozen=True, slots=True)
class Workflow:
    """One checked document. `ways` tells for START, for each node and for each join how the run goes on."""

    name: str
    digest: str
    fields: Mapping[str, Field]
    nodes: Mapping[str, Node]
    ways: Mapping[str, Way]
    execution: Execution = Execution()
    budget: Budget | None = None
    cases: tuple[Case, ...] = ()
    description: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    author: str | None = None

    @property
    def maps(self) -> Mapping[str, Map]:
        """The maps of the workflow by the node that they run per item."""
        return {way.target: way for way in self.ways.values() if isinstance(way, Map)}

    @property
    def joins(self) -> tuple[str, ...]:
        """Places without work, where branches meet and the run goes on by a choice."""
        return tuple(place for place in self.ways if place != START and place not in self.nodes)

    @property
    def inputs(self) -> Mapping[str, Field]:
        return {name: f for name, f in self.fields.items() if f.is_input}

    @property
    def secrets(self) -> frozenset[str]:
        """The fields that are secret inputs."""
        return frozenset(name for name, f in self.fields.items() if f.secret)
