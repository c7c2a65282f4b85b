"""EdgeShape → the way that a run goes on after each node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from flowyard.language.building.edge_context import DEFAULTS, EdgeContext, Edges
from flowyard.language.building.loops import read_loop
from flowyard.language.building.maps import read_map
from flowyard.language.reading.document import (
    DocumentShape,
    EdgeShape,
    LogicShape,
    RouteShape,
)
from flowyard.language.reading.places import Path, Places
from flowyard.language.workflow import END, START, Field, Next, Route, Routes, Way

_KINDS: Final = ("to", "routes", "loop", "parallel")


def read_edges(shape: DocumentShape, places: Places, fields: Mapping[str, Field]) -> Edges:
    ids = [node.id for node in shape.nodes]
    edges = Edges(dict.fromkeys(ids))
    if shape.edges is None:
        return _in_order(ids, edges)
    reader = _EdgeReader(EdgeContext(places, fields, edges, _loop_sources(shape), _choosing_joins(shape)))
    for i, edge in enumerate(shape.edges):
        reader.read(edge, ("edges", i))
    reader.finish()
    return edges


def _in_order(ids: list[str], edges: Edges) -> Edges:
    for i, (source, target) in enumerate(zip([START, *ids], [*ids, END], strict=True)):
        edges.ways[source] = Next((target,))
        edges.paths[source, target] = ("nodes", max(i - 1, 0), "id")
    return edges


def _loop_sources(shape: DocumentShape) -> frozenset[str]:
    return frozenset(join_name(edge.from_) for edge in shape.edges or () if edge.loop)


def join_name(sources: list[str]) -> str:
    """What a join is called that goes on with a choice: `a+b`, which no node can be."""
    return "+".join(dict.fromkeys(sources))


def _choosing_joins(shape: DocumentShape) -> frozenset[str]:
    """The joins that go on with a choice, which has to be made once, after all branches."""
    edges = [edge for edge in shape.edges or () if len(edge.from_) > 1]
    return frozenset(join_name(e.from_) for e in edges if e.condition or e.routes or e.loop or e.parallel)


@dataclass(slots=True)
class _Branch:
    """What the edges from one node say, gathered until all are read."""

    first: Path
    plain: list[tuple[str, Path]] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    default: str | None = None
    unsure: bool = False
    """Whether a route that can't be read may be the default."""
    conditional: Path | None = None
    whole: Way | None = None


class _EdgeReader:
    """Reads edge by edge, then makes one way per node."""

    def __init__(self, context: EdgeContext) -> None:
        self.context = context
        self.branches: dict[str, _Branch] = {}

    def read(self, edge: EdgeShape, path: Path) -> None:
        given = [key for key in (*_KINDS, "condition") if self.context.places.has((*path, key))]
        empty = [key for key in given if getattr(edge, key) is None]
        for key in empty:
            hint = "write its value, or remove it"
            self.context.error("missing-key", (*path, key), f"'{key}' is empty", hint, key=True)
        if empty:
            return
        kinds = [kind for kind in given if kind in _KINDS]
        if any(self.context.places.lost_a_key(place) for place in (path, *((*path, kind) for kind in kinds))):
            self.context.edges.sound = False
        sources = self._sources(edge, path)
        if len(sources) > 1 and join_name(edge.from_) in self.context.joins:
            sources = [self._join(sources, path)]
        if len(kinds) != 1:
            for source in sources:
                self._branch(source, path).unsure = True
            self._wrong_kinds(kinds, path)
        elif kinds[0] == "to":
            for source in sources:
                self._to(source, edge, path)
        elif edge.condition is not None:
            message = f"'condition' stands beside 'to', not beside '{kinds[0]}'"
            self.context.error("conflicting-edges", (*path, "condition"), message, "remove it", key=True)
        elif sources:
            self._whole(sources[0], edge, path)

    def _sources(self, edge: EdgeShape, path: Path) -> list[str]:
        for i, name in enumerate(edge.from_):
            if name in edge.from_[:i]:
                message = f"'{name}' stands twice in 'from'"
                self.context.error("conflicting-edges", (*path, "from", i), message, "remove one of the two")
        named = [(name, edge.from_.index(name)) for name in dict.fromkeys(edge.from_)]
        return [name for name, i in named if self.context.source(name, (*path, "from", i))]

    def _join(self, sources: list[str], path: Path) -> str:
        """Leads all sources to a place without work, from which the run goes on."""
        name = join_name(sources)
        for i, source in enumerate(sources):
            branch = self._branch(source, path)
            self.context.link(source, name, (*path, "from", i))
            if all(target != name for target, _ in branch.plain) and not self._taken(branch, source, path):
                branch.plain.append((name, (*path, "from", i)))
        return name

    def _wrong_kinds(self, kinds: list[str], path: Path) -> None:
        if "edges" in self.context.places.damaged or self.context.places.lost_a_key(path):
            self.context.edges.sound = False
        elif kinds:
            message = f"an edge has one of 'to', 'routes', 'loop' and 'parallel', not {' and '.join(map(repr, kinds))}"
            self.context.error("conflicting-edges", (*path, kinds[1]), message, "split it, or remove one", key=True)
        else:
            message = "an edge needs one of 'to', 'routes', 'loop' and 'parallel'"
            self.context.error("missing-key", path, message, "add 'to: END'", key=True)

    def _branch(self, source: str, path: Path) -> _Branch:
        return self.branches.setdefault(source, _Branch(path))

    def _to(self, source: str, edge: EdgeShape, path: Path) -> None:
        branch = self._branch(source, path)
        targets = [
            (t, (*path, "to", i)) for i, t in enumerate(edge.to or ()) if self.context.target(t, (*path, "to", i))
        ]
        for target, where in targets:
            self.context.link(source, target, where)
        if self._taken(branch, source, path):
            return
        if edge.condition is None and self.context.places.lost_a_key(path):
            # What it lost may be its condition.
            branch.conditional = branch.conditional or path
            branch.unsure = True
        elif edge.condition is None:
            branch.plain.extend(targets)
        elif len(edge.to or ()) > 1:
            message = "an edge with a condition leads to one node"
            self.context.error("conflicting-edges", (*path, "to"), message, "lead to a node that goes on to several")
        elif targets:
            branch.conditional = branch.conditional or (*path, "condition")
            self._add_route(source, branch, self._logic(edge.condition), (*path, "condition"), targets[0][0])
        else:
            self.context.condition(self._logic(edge.condition), (*path, "condition"))

    def _taken(self, branch: _Branch, source: str, path: Path) -> bool:
        if branch.whole is None:
            return False
        line = self.context.places.value(branch.first).line
        message = f"'{source}' already goes on by the edge in line {line}, which says all"
        self.context.error("conflicting-edges", (*path, "from"), message, "put the targets into one edge")
        return True

    def _logic(self, condition: str | LogicShape) -> str:
        return condition.logic if isinstance(condition, LogicShape) else condition

    def _add_route(self, source: str, branch: _Branch, logic: str, path: Path, target: str) -> None:
        if logic.strip().lower() in DEFAULTS:
            self._set_default(branch, path, target)
            return
        expression = self.context.condition(logic, path)
        if expression is not None:
            where = (*path, "logic") if self.context.places.has((*path, "logic")) else path
            branch.routes.append(Route(expression, target))
            self.context.edges.conditions.setdefault((source, expression.text, target), where)

    def _set_default(self, branch: _Branch, path: Path, target: str) -> None:
        if branch.default is not None:
            message = f"a second default route (the first leads to '{branch.default}')"
            self.context.error("duplicate-default", path, message, "keep one", key=True)
        branch.default = branch.default or target

    def _whole(self, source: str, edge: EdgeShape, path: Path) -> None:
        branch = self._branch(source, path)
        if branch.plain or branch.routes or branch.default or branch.whole:
            branch.whole = branch.whole or Next(())
            self._taken(branch, source, path)
            return
        if edge.routes is not None:
            branch.whole = self._routes(source, branch, edge.routes, (*path, "routes"))
        elif edge.loop is not None:
            branch.whole = read_loop(self.context, source, edge.loop, (*path, "loop"))
        elif edge.parallel is not None:
            branch.whole = read_map(self.context, source, edge.parallel, (*path, "parallel"))

    def _routes(self, source: str, branch: _Branch, routes: list[RouteShape], path: Path) -> Way:
        for i, route in enumerate(routes):
            self._route(source, branch, route, (*path, i))
        return self._finished_routes(branch, path)

    def _route(self, source: str, branch: _Branch, route: RouteShape, path: Path) -> None:
        read = self._read_route(route, path)
        if read is None:
            self.context.edges.sound = False
            branch.unsure = True
            if route.if_ or route.condition:
                self.context.condition(
                    route.if_ or self._logic(route.condition or ""), (*path, "if" if route.if_ else "condition")
                )
            return
        key, target, where = read
        self.context.link(source, target, where)
        logic = "default" if key in DEFAULTS else route.if_ if key == "if" else self._logic(route.condition or "")
        self._add_route(source, branch, logic or "", (*path, key), target)

    def _read_route(self, route: RouteShape, path: Path) -> tuple[str, str, Path] | None:
        """The key that says when the route is taken, where it leads, and where that is written."""
        conditions = [k for k in ("if", "condition", *DEFAULTS) if self.context.places.has((*path, k))]
        if len(conditions) != 1:
            if not self.context.places.lost_a_key(path):
                code = "conflicting-edges" if conditions else "missing-key"
                message = "a route has one of 'if', 'condition' and 'default'"
                self.context.error(code, path, message, "write {if: …, to: …}")
            return None
        key = conditions[0]
        named = route.default if key == "default" else route.else_
        target = route.to if route.to is not None else named if key in DEFAULTS and isinstance(named, str) else None
        where = (*path, "to") if route.to is not None else (*path, key)
        if target is None:
            if not self.context.places.lost_a_key(path):
                self.context.error("missing-key", path, "the route needs the key 'to'", "add 'to:'", key=True)
            return None
        if key in DEFAULTS and route.to is not None and named not in (None, True):
            message = f"'{key}' names the node, so 'to' can't name another"
            self.context.error("conflicting-edges", (*path, "to"), message, "remove one of the two", key=True)
            return None
        return (key, target, where) if self.context.target(target, where) else None

    def _finished_routes(self, branch: _Branch, path: Path) -> Routes:
        if branch.default is None and not branch.unsure and "edges" not in self.context.places.damaged:
            message = "no default route: a run that fits no condition would be stuck"
            self.context.error("missing-default-route", path, message, "add {default: END} or another node", key=True)
        return Routes(tuple(branch.routes), branch.default or END)

    def finish(self) -> None:
        for source, branch in self.branches.items():
            way = branch.whole or self._way(branch)
            if way is not None:
                self.context.edges.ways[source] = way

    def _way(self, branch: _Branch) -> Way | None:
        if branch.conditional is None:
            return Next(tuple(dict.fromkeys(t for t, _ in branch.plain))) if branch.plain else None
        for target, path in branch.plain:
            self._set_default(branch, path, target)
        return self._finished_routes(branch, branch.conditional)
