"""What the readers of edges share: the document, the names that edges may use, and the result."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from flowyard.language.building.expressions import Scope, read_condition
from flowyard.language.building.secrets import check_expression_secrets
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.expressions import Expression
from flowyard.language.values.possible_values import Possible
from flowyard.language.values.types import Type, unlimited
from flowyard.language.workflow import END, START, Field, Transition

DEFAULTS: Final = ("default", "else")


@dataclass(slots=True)
class Edges:
    """The transitions of a workflow, and the path of each in the document."""

    names: Collection[str]
    transitions: dict[str, Transition] = field(default_factory=dict)
    paths: dict[tuple[str, str], KeyPath] = field(default_factory=dict)
    conditions: dict[tuple[str, str, str], KeyPath] = field(default_factory=dict)
    """The path of a route's condition, by node, text and target."""

    unresolved_items: set[str] = field(default_factory=set)
    """The local names of items in maps whose target is unknown."""
    is_complete: bool = True
    """Whether all edges could be read, so that the flow as a whole can be checked."""

    def path_of(self, source: str, target: str) -> KeyPath:
        return self.paths.get((source, target), ("edges",))


@dataclass(slots=True)
class EdgeContext:
    """`loops`: the nodes and joins that a loop starts from. `joins`: those after which a choice follows.

    `values`: what is known of the fields' values.
    """

    document: SourceDocument
    fields: Mapping[str, Field]
    edges: Edges
    loops: frozenset[str]
    joins: frozenset[str]
    values: Mapping[str, Possible]
    types: Mapping[str, Type] = field(init=False)

    def __post_init__(self) -> None:
        self.types = {name: unlimited(f.type) for name, f in self.fields.items()}

    def error(
        self, code: str, path: KeyPath, message: str, suggestion: str | None = None, *, key: bool = False
    ) -> None:
        """Reports a problem that makes the flow incomplete."""
        self.edges.is_complete = False
        self.document.error(code, path, message, suggestion, key=key)

    def source(self, name: str, path: KeyPath) -> bool:
        """Whether an edge may come from `name`; reports the problem if not."""
        if name == END:
            self.error("unknown-node", path, "nothing comes after END", "remove this edge")
        elif name != START and name not in self.edges.names:
            self.error("unknown-node", path, f"no node '{name}'", suggest(name, [*self.edges.names, START], "nodes"))
        else:
            return True
        return False

    def target(self, name: str, path: KeyPath) -> bool:
        """Whether an edge may lead to `name`; reports the problem if not."""
        if name == START:
            self.error("unknown-node", path, "nothing comes before START", "name a node or END")
        elif name != END and name not in self.edges.names:
            self.error("unknown-node", path, f"no node '{name}'", suggest(name, [*self.edges.names, END], "nodes"))
        else:
            return True
        return False

    def link(self, source: str, target: str, path: KeyPath) -> None:
        """Records the path of an edge, for problems of the flow."""
        self.edges.paths.setdefault((source, target), path)

    def condition(self, logic: str, path: KeyPath) -> Expression | None:
        """The condition; None if it is broken, which is reported, or a word for the default route."""
        if logic.strip().lower() in DEFAULTS:
            return None
        where = (*path, "logic") if self.document.has((*path, "logic")) else path
        expression = read_condition(self.document, where, logic, Scope(self.types, self.values, self.loops))
        if expression is not None:
            check_expression_secrets(self.document, where, expression, self.fields)
        self.edges.is_complete = self.edges.is_complete and expression is not None
        return expression

    def unknown_field(self, name: str, path: KeyPath) -> None:
        first = name.partition(".")[0]
        hint = f"name a field as a whole: {first}" if first != name and first in self.fields else None
        self.error("unknown-field", path, f"no field '{name}'", hint or suggest(name, self.fields, "fields"))
