"""What the readers of edges share: the names that edges may use, and where they report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from flowyard.language.building.expressions import read_condition
from flowyard.language.building.secrets import check_expression_secrets
from flowyard.language.problems import suggest
from flowyard.language.reading.places import Path, Places
from flowyard.language.values.expressions import Expression
from flowyard.language.values.types import Type
from flowyard.language.workflow import END, START, Field, Way

DEFAULTS: Final = ("default", "else")


@dataclass(slots=True)
class Edges:
    """The ways of a workflow, and where in the document each of them is written."""

    names: Collection[str]
    ways: dict[str, Way] = field(default_factory=dict)
    paths: dict[tuple[str, str], Path] = field(default_factory=dict)
    conditions: dict[tuple[str, str, str], Path] = field(default_factory=dict)
    """Where a route's condition is written, by node, text and target."""

    loose_items: set[str] = field(default_factory=set)
    """What maps call their items whose target isn't known."""
    sound: bool = True
    """Whether the ways are what the author means, so that the flow as a whole can be judged."""

    def place(self, source: str, target: str) -> Path:
        return self.paths.get((source, target), ("edges",))


@dataclass(slots=True)
class EdgeContext:
    """`loops`: the places that a loop starts from; `joins`: those where branches meet and a choice follows."""

    places: Places
    fields: Mapping[str, Field]
    edges: Edges
    loops: frozenset[str]
    joins: frozenset[str]

    @property
    def types(self) -> dict[str, Type]:
        return {name: f.type for name, f in self.fields.items()}

    def error(self, code: str, path: Path, message: str, suggestion: str | None = None, *, key: bool = False) -> None:
        """Reports what leaves a hole in the flow."""
        self.edges.sound = False
        self.places.error(code, path, message, suggestion, key=key)

    def source(self, name: str, path: Path) -> bool:
        if name == END:
            self.error("unknown-node", path, "nothing comes after END", "remove this edge")
        elif name != START and name not in self.edges.names:
            self.error("unknown-node", path, f"no node '{name}'", suggest(name, [*self.edges.names, START], "nodes"))
        else:
            return True
        return False

    def target(self, name: str, path: Path) -> bool:
        if name == START:
            self.error("unknown-node", path, "nothing comes before START", "name a node or END")
        elif name != END and name not in self.edges.names:
            self.error("unknown-node", path, f"no node '{name}'", suggest(name, [*self.edges.names, END], "nodes"))
        else:
            return True
        return False

    def link(self, source: str, target: str, path: Path) -> None:
        self.edges.paths.setdefault((source, target), path)

    def condition(self, logic: str, path: Path) -> Expression | None:
        if logic.strip().lower() in DEFAULTS:
            return None
        where = (*path, "logic") if self.places.has((*path, "logic")) else path
        expression = read_condition(self.places, where, logic, self.types, self.loops)
        if expression is not None:
            check_expression_secrets(self.places, where, expression, self.fields)
        self.edges.sound = self.edges.sound and expression is not None
        return expression

    def unknown_field(self, name: str, path: Path) -> None:
        root = name.partition(".")[0]
        hint = f"name a field as a whole: {root}" if root != name and root in self.fields else None
        self.error("unknown-field", path, f"no field '{name}'", hint or suggest(name, self.fields, "fields"))


def field_name(given: str) -> str:
    """`done`, `state.done` and `{state.done}` are the same field."""
    return given.strip().removeprefix("{").removesuffix("}").strip().removeprefix("state.")
