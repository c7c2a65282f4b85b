"""A workflow for the engine: checked, complete, frozen, without positions in the document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from flowyard.language.nodes import ModelSettings, Node, PromptNode, ToolNode
from flowyard.language.on_finish import Receiver
from flowyard.language.triggers import Trigger
from flowyard.language.values.expressions import Expression
from flowyard.language.values.types import Type

START: Final = "START"
END: Final = "END"

Reduce: TypeAlias = Literal["replace", "append", "extend", "merge", "add", "max", "min"]
Durability: TypeAlias = Literal["sync", "async", "exit"]
OnItemError: TypeAlias = Literal["fail", "skip", "collect"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the state. `default` counts only if `has_default`. `secret`: an input that is never shown.

    `hidden`: an input that isn't the document's own, and that no person gives.
    """

    name: str
    type: Type
    required: bool = False
    has_default: bool = False
    default: Any = None
    description: str | None = None
    reduce: Reduce = "replace"
    secret: bool = False
    hidden: bool = False

    @property
    def is_input(self) -> bool:
        return self.required or self.has_default


@dataclass(frozen=True, slots=True)
class Next:
    """Without a condition: all of `to` are next, in parallel if there are several. END in it ends the branch."""

    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    condition: Expression
    to: str


@dataclass(frozen=True, slots=True)
class Routes:
    """The first route whose condition is true, else `default`."""

    routes: tuple[Route, ...]
    default: str


@dataclass(frozen=True, slots=True)
class Loop:
    """Back to `to` until `until` is true or the body has run `max_iterations` times; then `exit_to`."""

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


Transition: TypeAlias = Next | Routes | Loop | Map
"""How a run continues after a node."""


def maps_of(transitions: Mapping[str, Transition]) -> dict[str, Map]:
    """The maps among the transitions, by their target, the node that runs per item."""
    return {map_.target: map_ for map_ in transitions.values() if isinstance(map_, Map)}


@dataclass(frozen=True, slots=True)
class Execution:
    """`config.execution`. `timeout`: seconds of the whole run."""

    timeout: float | None = None
    durability: Durability = "sync"
    concurrency: int | None = None
    priority: int = 0
    max_attempts: int = 3


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a run; None: no limit. `tokens`: of prompts and replies together."""

    usd: Decimal | None = None
    tokens: int | None = None
    model_calls: int | None = None


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A canned failure: the error code that the scripted model raises."""

    code: str


@dataclass(frozen=True, slots=True)
class ToolReply:
    """A canned reply that calls tools. `calls`: in OpenAI's format, as in a message."""

    text: str
    calls: tuple[Mapping[str, Any], ...]


Reply: TypeAlias = str | ErrorReply | ToolReply


@dataclass(frozen=True, slots=True)
class Expectation:
    """The result that a test case expects. None: not compared."""

    status: Literal["succeeded", "failed"] = "succeeded"
    outputs: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[str, ...] | None = None
    error: str | None = None
    calls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a document. `replies`: canned replies per node; a single one answers every call."""

    name: str
    inputs: Mapping[str, Any]
    replies: Mapping[str, Reply | tuple[Reply, ...]]
    expect: Expectation


@dataclass(frozen=True, slots=True)
class Workflow:
    """One checked document. `transitions`: how a run continues after START, after each node, and after each join.

    `result`: the fields that are the run's outputs; empty: those that its nodes write. `on_finish`: whom its
    end is reported to.
    """

    name: str
    digest: str
    fields: Mapping[str, Field]
    nodes: Mapping[str, Node]
    transitions: Mapping[str, Transition]
    execution: Execution = Execution()
    budget: Budget | None = None
    cases: tuple[Case, ...] = ()
    description: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    author: str | None = None
    result: tuple[str, ...] = ()
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    on_finish: tuple[Receiver, ...] = ()

    @property
    def maps(self) -> Mapping[str, Map]:
        """The maps of the workflow, by the node that runs per item."""
        return maps_of(self.transitions)

    @property
    def joins(self) -> tuple[str, ...]:
        """The names of the joins after which a choice follows. A join has no node."""
        return tuple(place for place in self.transitions if place != START and place not in self.nodes)

    @property
    def models(self) -> tuple[ModelSettings, ...]:
        """The models that its nodes call first, each once; their fallbacks are in their settings.

        The same model with another key, address or fallback is another one: each has to be checked before a run.
        """
        first = {id(node.models[0]): node.models[0] for node in self.nodes.values() if node.models}
        # By their texts: settings have no hash, and comparing each with each takes long for a thousand nodes.
        return tuple({repr(settings): settings for settings in first.values()}.values())

    @property
    def calls_tools(self) -> bool:
        """Whether a node calls a tool, or lets its model call some."""
        return any(isinstance(n, ToolNode) or (isinstance(n, PromptNode) and n.tools) for n in self.nodes.values())

    @property
    def inputs(self) -> Mapping[str, Field]:
        """Those that people give."""
        return {name: f for name, f in self.fields.items() if f.is_input and not f.hidden}

    @property
    def secrets(self) -> frozenset[str]:
        """The fields that are secret inputs."""
        return frozenset(name for name, f in self.fields.items() if f.secret)
