"""What the readers of all kinds of nodes share: the document, its names and types, and the head of a node."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowyard.language.building.expressions import Scope
from flowyard.language.building.mapped_values import read_template
from flowyard.language.building.models import ModelReader
from flowyard.language.building.tools import ToolReader
from flowyard.language.code_bounds import CodeBounds
from flowyard.language.nodes import CodeLimits, Goto, OnError, RetryPolicy
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.document import GotoShape, NodeShape, RetryShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.possible_values import Possible
from flowyard.language.values.templates import Template
from flowyard.language.values.types import ANY, ListOf, Type, core, unlimited
from flowyard.language.workflow import END, START, Field, Map


@dataclass(slots=True)
class NodeContext:
    """One document. `names`: the id of every node, also of broken nodes; `loops`: the nodes that a loop starts from.

    `outputs`: the fields that each node writes; `values`: what is known of the fields' values.
    `code_limits`: of its code nodes, unless they have their own. `code_bounds`: see Installation.
    `unresolved_items`: the local names of items in maps whose target is unknown.
    """

    document: SourceDocument
    fields: Mapping[str, Field]
    values: Mapping[str, Possible]
    models: ModelReader
    tools: ToolReader
    retry: RetryPolicy
    maps: Mapping[str, Map]
    loops: Collection[str]
    unresolved_items: Collection[str]
    names: Collection[str]
    outputs: Mapping[str, Sequence[str]]
    code_limits: CodeLimits
    code_bounds: CodeBounds
    lines: dict[str, int] = field(default_factory=dict)
    """The line of each id that was read."""

    _types: dict[str, Type] = field(default_factory=dict)
    """Of all names but the items of maps, once they are needed."""

    def is_incomplete(self, path: KeyPath) -> bool:
        """Whether a broken part of the node was removed, so that a missing key may be that part."""
        return "nodes" in self.document.incomplete or self.document.has_removed_key(path)

    def head(self, shape: NodeShape, path: KeyPath) -> dict[str, Any]:
        """The arguments that every kind of node takes, but for its outputs."""
        return {
            "id": shape.id,
            "timeout": shape.timeout,
            "retry": self._retry(shape),
            "on_error": self._on_error(shape, path),
            "name": shape.name,
            "description": shape.description,
        }

    def check_id(self, name: str, path: KeyPath) -> None:
        if name in (START, END, "configurable") or name.startswith("__"):
            message = f"'{name}' can't be the id of a node"
            self.document.error("reserved-name", (*path, "id"), message, "choose another name")
        if name in self.lines:
            message = f"a second node '{name}' (the first is in line {self.lines[name]})"
            self.document.error("duplicate-node", (*path, "id"), message, "give each node its own id")
        self.lines.setdefault(name, self.document.position((*path, "id")).line)

    def check_map_target(self, shape: NodeShape, path: KeyPath) -> None:
        if shape.id in self.maps and shape.on_error not in (None, "fail"):
            message = f"'{shape.id}' runs once per item, so 'on_item_error' at the map's edge applies instead"
            hint = "write on_item_error: skip at the edge"
            self.document.error("map-target", (*path, "on_error"), message, hint, key=True)

    def types(self, node: str) -> Mapping[str, Type]:
        """The names that the texts of a node may use, with their types: fields, and the item in a map."""
        if not self._types:
            self._types = dict.fromkeys(self.unresolved_items, ANY)
            self._types |= {name: unlimited(f.type) for name, f in self.fields.items()}
        map_, types = self.maps.get(node), self._types
        if map_ is not None:
            types = dict(types)
            items = self.fields.get(map_.items_field)
            kind = core(unlimited(items.type)) if items else ANY
            types[map_.item] = kind.element if isinstance(kind, ListOf) else ANY
        return types

    def scope(self, node: str) -> Scope:
        """What the expressions of a node may name."""
        hidden = self.maps[node].item if node in self.maps else None
        values = {name: value for name, value in self.values.items() if name != hidden}
        return Scope(self.types(node), values, self.loops)

    def template(self, text: str, path: KeyPath, types: Mapping[str, Type]) -> Template:
        return read_template(self.document, text, path, types, self.outputs)

    def output_type(self, node: str, name: str, path: KeyPath, *, is_only: bool, key: bool = False) -> Type:
        """The type that the node must write into the field `name`. `is_only`: it is the node's only output."""
        declared = self.fields.get(name)
        if declared is None:
            message = f"no field '{name}' in the state"
            self.document.error("undeclared-output", path, message, suggest(name, self.fields, "fields"), key=key)
            return ANY
        map_, inner = self.maps.get(node), core(declared.type)
        per_item = map_ is not None and is_only and name == map_.collect_field
        if isinstance(inner, ListOf) and (declared.reduce == "append" or per_item):
            return inner.element
        return declared.type

    def _retry(self, shape: NodeShape) -> RetryPolicy:
        if shape.retry is None:
            return self.retry
        if isinstance(shape.retry, RetryShape):
            given = shape.retry.model_dump(exclude_none=True)
            if "errors" in given:
                given["errors"] = frozenset(given["errors"])
            return RetryPolicy(**{"max_retries": self.retry.max_retries, **given})
        return RetryPolicy(max_retries=shape.retry)

    def _on_error(self, shape: NodeShape, path: KeyPath) -> OnError:
        match shape.on_error:
            case GotoShape(goto=target):
                if target not in self.names:
                    hint = "use continue, or name a node" if target == END else suggest(target, self.names, "nodes")
                    self.document.error("unknown-node", (*path, "on_error", "goto"), f"no node '{target}'", hint)
                return Goto(target)
            case "continue":
                return "continue"
            case _:
                return "fail"
