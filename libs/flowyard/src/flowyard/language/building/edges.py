"""Reads edges into one transition per node: what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from flowyard.language.building.coverage import uncovered
from flowyard.language.building.edge_context import DEFAULTS, EdgeContext, Edges
from flowyard.language.building.loops import read_loop
from flowyard.language.building.maps import read_map
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import DocumentShape, EdgeShape, LogicShape, RouteShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.possible_values import Possible
from flowyard.language.workflow import END, START, Field, Next, Route, Routes, Transition

_KINDS: Final = ("to", "routes", "loop", "parallel")


def read_edges(
    shape: DocumentShape, document: SourceDocument, fields: Mapping[str, Field], values: Mapping[str, Possible]
) -> Edges:
    """The edges of a document; without the key `edges`, the nodes in order. Reports their problems."""
    ids = [node.id for node in shape.nodes]
    edges = Edges(dict.fromkeys(ids))
    if shape.edges is None:
        return _sequence(ids, edges)
    loops = frozenset(join_name(edge.from_) for edge in shape.edges if edge.loop)
    joining = [edge for edge in shape.edges if len(edge.from_) > 1]
    # The joins after which a run makes a choice: once, when all branches have ended.
    joins = frozenset(join_name(e.from_) for e in joining if e.condition or e.routes or e.loop or e.parallel)
    reader = _EdgeReader(EdgeContext(document, fields, edges, loops, joins, values))
    for i, edge in enumerate(shape.edges):
        reader.read(edge, ("edges", i))
    reader.finish()
    return edges


def _sequence(ids: list[str], edges: Edges) -> Edges:
    for i, (source, target) in enumerate(zip([START, *ids], [*ids, END], strict=True)):
        edges.transitions[source] = Next((target,))
        edges.paths[source, target] = ("nodes", max(i - 1, 0), "id")
    return edges


def join_name(sources: list[str]) -> str:
    """The name of a join after which a choice follows: `a+b`, which can't be the name of a node."""
    return "+".join(dict.fromkeys(sources))


@dataclass(slots=True)
class _Branch:
    """The edges from one node, collected until all are read. `first`: the path of the first edge."""

    first: KeyPath
    plain: list[tuple[str, KeyPath]] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    default: str | None = None
    may_have_default: bool = False
    """Whether a route that couldn't be read may be the default."""
    conditional: KeyPath | None = None
    """The path of the first condition."""
    single_transition: Transition | None = None


class _EdgeReader:
    """Reads edge by edge, then merges them into one transition per node."""

    def __init__(self, context: EdgeContext) -> None:
        self.context = context
        self.branches: dict[str, _Branch] = {}

    def read(self, edge: EdgeShape, path: KeyPath) -> None:
        given = [key for key in (*_KINDS, "condition") if self.context.document.has((*path, key))]
        empty = [key for key in given if getattr(edge, key) is None]
        for key in empty:
            hint = "write its value, or remove it"
            self.context.error("missing-key", (*path, key), f"'{key}' is empty", hint, key=True)
        if empty:
            return
        kinds = [kind for kind in given if kind in _KINDS]
        if any(self.context.document.has_removed_key(part) for part in (path, *((*path, kind) for kind in kinds))):
            self.context.edges.is_complete = False
        sources = self._sources(edge, path)
        if len(sources) > 1 and join_name(edge.from_) in self.context.joins:
            sources = [self._join(sources, path)]
        if len(kinds) != 1:
            for source in sources:
                self._branch(source, path).may_have_default = True
            self._wrong_kinds(kinds, path)
        elif kinds[0] == "to":
            for source in sources:
                self._add_targets(source, edge, path)
        elif edge.condition is not None:
            message = f"'condition' can be combined with 'to' only, not with '{kinds[0]}'"
            self.context.error("conflicting-edges", (*path, "condition"), message, "remove it", key=True)
        elif sources:
            self._add_single_transition(sources[0], edge, path)

    def _sources(self, edge: EdgeShape, path: KeyPath) -> list[str]:
        listed: dict[str, int] = {}
        for i, name in enumerate(edge.from_):
            if listed.setdefault(name, i) != i:
                message = f"'{name}' is listed twice in 'from'"
                self.context.error("conflicting-edges", (*path, "from", i), message, "remove one of the two")
        return [name for name, i in listed.items() if self.context.source(name, (*path, "from", i))]

    def _join(self, sources: list[str], path: KeyPath) -> str:
        """Connects all sources with a join, a node without work, from which the run continues."""
        name = join_name(sources)
        for i, source in enumerate(sources):
            branch = self._branch(source, path)
            self.context.link(source, name, (*path, "from", i))
            if all(target != name for target, _ in branch.plain) and not self._has_conflict(branch, source, path):
                branch.plain.append((name, (*path, "from", i)))
        return name

    def _wrong_kinds(self, kinds: list[str], path: KeyPath) -> None:
        if "edges" in self.context.document.incomplete or self.context.document.has_removed_key(path):
            self.context.edges.is_complete = False
        elif kinds:
            message = f"an edge has one of 'to', 'routes', 'loop' and 'parallel', not {' and '.join(map(repr, kinds))}"
            self.context.error("conflicting-edges", (*path, kinds[1]), message, "split it, or remove one key", key=True)
        else:
            message = "an edge needs one of 'to', 'routes', 'loop' and 'parallel'"
            self.context.error("missing-key", path, message, "add 'to: END'", key=True)

    def _branch(self, source: str, path: KeyPath) -> _Branch:
        return self.branches.setdefault(source, _Branch(path))

    def _add_targets(self, source: str, edge: EdgeShape, path: KeyPath) -> None:
        branch = self._branch(source, path)
        written = [(target, (*path, "to", i)) for i, target in enumerate(edge.to or ())]
        targets = [(target, where) for target, where in written if self.context.target(target, where)]
        for target, where in targets:
            self.context.link(source, target, where)
        if self._has_conflict(branch, source, path):
            return
        if edge.condition is None and self.context.document.has_removed_key(path):
            # The removed key may be its condition.
            branch.conditional = branch.conditional or path
            branch.may_have_default = True
        elif edge.condition is None:
            branch.plain.extend(targets)
        elif len(edge.to or ()) > 1:
            message = "an edge with a condition leads to one node"
            hint = "lead to one node, and from there to several"
            self.context.error("conflicting-edges", (*path, "to"), message, hint)
        elif targets:
            branch.conditional = branch.conditional or (*path, "condition")
            self._add_route(source, branch, self._condition_text(edge.condition), (*path, "condition"), targets[0][0])
        else:
            self.context.condition(self._condition_text(edge.condition), (*path, "condition"))

    def _has_conflict(self, branch: _Branch, source: str, path: KeyPath) -> bool:
        if branch.single_transition is None:
            return False
        line = self.context.document.position(branch.first).line
        message = f"'{source}' already has the edge in line {line}, which can't be combined with other edges"
        self.context.error("conflicting-edges", (*path, "from"), message, "put the targets into one edge")
        return True

    def _condition_text(self, condition: str | LogicShape) -> str:
        return condition.logic if isinstance(condition, LogicShape) else condition

    def _add_route(self, source: str, branch: _Branch, logic: str, path: KeyPath, target: str) -> None:
        if logic.strip().lower() in DEFAULTS:
            self._set_default(branch, path, target)
            return
        expression = self.context.condition(logic, path)
        if expression is not None:
            where = (*path, "logic") if self.context.document.has((*path, "logic")) else path
            branch.routes.append(Route(expression, target))
            self.context.edges.conditions.setdefault((source, expression.text, target), where)

    def _set_default(self, branch: _Branch, path: KeyPath, target: str) -> None:
        if branch.default is not None:
            message = f"a second default route (the first leads to '{branch.default}')"
            self.context.error("duplicate-default", path, message, "keep one default", key=True)
        branch.default = branch.default or target

    def _add_single_transition(self, source: str, edge: EdgeShape, path: KeyPath) -> None:
        branch = self._branch(source, path)
        if branch.plain or branch.routes or branch.default or branch.single_transition:
            branch.single_transition = branch.single_transition or Next(())
            self._has_conflict(branch, source, path)
            return
        if edge.routes is not None:
            for i, route in enumerate(edge.routes):
                self._route(source, branch, route, (*path, "routes", i))
            branch.single_transition = self._finished_routes(branch, (*path, "routes"))
        elif edge.loop is not None:
            branch.single_transition = read_loop(self.context, source, edge.loop, (*path, "loop"))
        elif edge.parallel is not None:
            branch.single_transition = read_map(self.context, source, edge.parallel, (*path, "parallel"))

    def _route(self, source: str, branch: _Branch, route: RouteShape, path: KeyPath) -> None:
        read = self._read_route(route, path)
        logic = route.if_ or self._condition_text(route.condition or "")
        if read is None:
            self.context.edges.is_complete = False
            branch.may_have_default = True
            if route.if_ or route.condition:
                self.context.condition(logic, (*path, "if" if route.if_ else "condition"))
            return
        key, target, where = read
        self.context.link(source, target, where)
        if key in DEFAULTS:
            self._set_default(branch, (*path, key), target)
        else:
            self._add_route(source, branch, logic, (*path, key), target)

    def _read_route(self, route: RouteShape, path: KeyPath) -> tuple[str, str, KeyPath] | None:
        """The key of the route's condition, its target, and the path of the target."""
        conditions = [k for k in ("if", "condition", *DEFAULTS) if self.context.document.has((*path, k))]
        if len(conditions) != 1:
            if not self.context.document.has_removed_key(path):
                code = "conflicting-edges" if conditions else "missing-key"
                message = "a route has one of 'if', 'condition' and 'default'"
                self.context.error(code, path, message, "write {if: …, to: …}")
            return None
        key = conditions[0]
        value = route.default if key == "default" else route.else_
        target = route.to if route.to is not None else value if key in DEFAULTS and isinstance(value, str) else None
        where = (*path, "to") if route.to is not None else (*path, key)
        if target is None:
            if not self.context.document.has_removed_key(path):
                self.context.error("missing-key", path, "the route needs the key 'to'", "add 'to:'", key=True)
            return None
        if key in DEFAULTS and route.to is not None and value not in (None, True):
            message = f"'{key}' names the node, so 'to' can't name another"
            self.context.error("conflicting-edges", (*path, "to"), message, "remove one of the two", key=True)
            return None
        return (key, target, where) if self.context.target(target, where) else None

    def _finished_routes(self, branch: _Branch, path: KeyPath) -> Routes:
        if branch.default is None and not branch.may_have_default and "edges" not in self.context.document.incomplete:
            message = "no default route: a run for which no condition is true would be stuck"
            missed = uncovered([route.condition for route in branch.routes], self.context.types)
            if missed is not None and missed[1]:
                message = f"no default route, and none for {' or '.join(map(repr, missed[1]))} of '{missed[0]}'"
            elif missed is not None:
                message = f"no default route: '{missed[0]}' may be null"
            self.context.error("missing-default-route", path, message, "add {default: END} or another node", key=True)
        return Routes(tuple(branch.routes), branch.default or END)

    def finish(self) -> None:
        """Sets the transition of each node. Called once, when all edges are read."""
        for source, branch in self.branches.items():
            transition = branch.single_transition or self._merged_transition(branch)
            if transition is not None:
                self.context.edges.transitions[source] = transition

    def _merged_transition(self, branch: _Branch) -> Transition | None:
        if branch.conditional is None:
            return Next(tuple(dict.fromkeys(t for t, _ in branch.plain))) if branch.plain else None
        for target, path in branch.plain:
            self._set_default(branch, path, target)
        return self._finished_routes(branch, branch.conditional)
