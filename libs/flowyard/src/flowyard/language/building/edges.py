"""EdgeShape → the way that a run goes on after each node."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from flowyard.language.building.expressions import read_condition
from flowyard.language.problems import suggest
from flowyard.language.reading.document import (
    DocumentShape,
    EdgeShape,
    LogicShape,
    LoopShape,
    ParallelShape,
    RouteShape,
)
from flowyard.language.reading.places import Path, Places
from flowyard.language.values.types import ANY, BOOL, ListOf, ObjectOf, accepts, describe, without_null
from flowyard.language.workflow import END, START, Field, Loop, Map, Next, Route, Routes, Way

_KINDS: Final = ("to", "routes", "loop", "parallel")
_DEFAULTS: Final = ("default", "else")


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


def read_edges(shape: DocumentShape, places: Places, fields: Mapping[str, Field]) -> Edges:
    ids = [node.id for node in shape.nodes]
    edges = Edges(dict.fromkeys(ids))
    if shape.edges is None:
        return _in_order(ids, edges)
    reader = _EdgeReader(places, fields, edges, loops=_loop_sources(shape))
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
    return frozenset(source for edge in shape.edges or () if edge.loop for source in edge.from_)


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

    def __init__(self, places: Places, fields: Mapping[str, Field], edges: Edges, *, loops: frozenset[str]) -> None:
        self.places = places
        self.fields = fields
        self.edges = edges
        self.loops = loops
        self.types = {name: f.type for name, f in fields.items()}
        self.branches: dict[str, _Branch] = {}

    def _error(self, code: str, path: Path, message: str, suggestion: str | None = None, *, key: bool = False) -> None:
        """Reports what leaves a hole in the flow."""
        self.edges.sound = False
        self.places.error(code, path, message, suggestion, key=key)

    def read(self, edge: EdgeShape, path: Path) -> None:
        empty = [key for key in (*_KINDS, "condition") if self.places.has((*path, key)) and getattr(edge, key) is None]
        for key in empty:
            self._error("missing-key", (*path, key), f"'{key}' is empty", "write its value, or remove it", key=True)
        if empty:
            return
        kinds = [kind for kind in _KINDS if self.places.has((*path, kind))]
        if any(self.places.lost_a_key(place) for place in (path, *((*path, kind) for kind in kinds))):
            self.edges.sound = False
        sources = [s for i, s in enumerate(edge.from_) if self._source(s, (*path, "from", i))]
        if len(kinds) != 1:
            for source in sources:
                self._branch(source, path).unsure = True
            self._wrong_kinds(kinds, path)
        elif kinds[0] == "to":
            for source in sources:
                self._to(source, edge, path)
        elif len(edge.from_) > 1:
            message = f"a join (a list in 'from') goes on with 'to', not with '{kinds[0]}'"
            self._error(
                "conflicting-edges", (*path, kinds[0]), message, "join in a node, and go on from there", key=True
            )
        elif edge.condition is not None:
            message = f"'condition' stands beside 'to', not beside '{kinds[0]}'"
            self._error("conflicting-edges", (*path, "condition"), message, "remove it", key=True)
        elif sources:
            self._whole(sources[0], edge, path)

    def _wrong_kinds(self, kinds: list[str], path: Path) -> None:
        if "edges" in self.places.damaged or self.places.lost_a_key(path):
            self.edges.sound = False
        elif kinds:
            message = f"an edge has one of 'to', 'routes', 'loop' and 'parallel', not {' and '.join(map(repr, kinds))}"
            self._error("conflicting-edges", (*path, kinds[1]), message, "split it, or remove one", key=True)
        else:
            message = "an edge needs one of 'to', 'routes', 'loop' and 'parallel'"
            self._error("missing-key", path, message, "add 'to: END'", key=True)

    def _source(self, name: str, path: Path) -> bool:
        if name == END:
            self._error("unknown-node", path, "nothing comes after END", "remove this edge")
        elif name != START and name not in self.edges.names:
            self._error("unknown-node", path, f"no node '{name}'", suggest(name, [*self.edges.names, START], "nodes"))
        else:
            return True
        return False

    def _target(self, name: str, path: Path) -> bool:
        if name == START:
            self._error("unknown-node", path, "nothing comes before START", "name a node or END")
        elif name != END and name not in self.edges.names:
            self._error("unknown-node", path, f"no node '{name}'", suggest(name, [*self.edges.names, END], "nodes"))
        else:
            return True
        return False

    def _branch(self, source: str, path: Path) -> _Branch:
        return self.branches.setdefault(source, _Branch(path))

    def _link(self, source: str, target: str, path: Path) -> None:
        self.edges.paths.setdefault((source, target), path)

    def _to(self, source: str, edge: EdgeShape, path: Path) -> None:
        branch = self._branch(source, path)
        targets = [(t, (*path, "to", i)) for i, t in enumerate(edge.to or ()) if self._target(t, (*path, "to", i))]
        for target, where in targets:
            self._link(source, target, where)
        if self._taken(branch, source, path):
            return
        if edge.condition is None and self.places.lost_a_key(path):
            # What it lost may be its condition.
            branch.conditional = branch.conditional or path
            branch.unsure = True
        elif edge.condition is None:
            branch.plain.extend(targets)
        elif len(edge.to or ()) > 1:
            message = "an edge with a condition leads to one node"
            self._error("conflicting-edges", (*path, "to"), message, "lead to a node that goes on to several")
        elif targets:
            branch.conditional = branch.conditional or path
            self._add_route(source, branch, self._logic(edge.condition), (*path, "condition"), targets[0][0])

    def _taken(self, branch: _Branch, source: str, path: Path) -> bool:
        if branch.whole is None:
            return False
        line = self.places.value(branch.first).line
        message = f"'{source}' already goes on by the edge in line {line}, which says all"
        self._error("conflicting-edges", (*path, "from"), message, "put the targets into one edge")
        return True

    def _logic(self, condition: str | LogicShape) -> str:
        return condition.logic if isinstance(condition, LogicShape) else condition

    def _add_route(self, source: str, branch: _Branch, logic: str, path: Path, target: str) -> None:
        if logic.strip().lower() in _DEFAULTS:
            self._set_default(branch, path, target)
            return
        where = (*path, "logic") if self.places.has((*path, "logic")) else path
        expression = read_condition(self.places, where, logic, self.types, self.loops)
        if expression is None:
            self.edges.sound = False
        else:
            branch.routes.append(Route(expression, target))
            self.edges.conditions.setdefault((source, expression.text, target), where)

    def _set_default(self, branch: _Branch, path: Path, target: str) -> None:
        if branch.default is not None:
            message = f"a second default route (the first leads to '{branch.default}')"
            self._error("duplicate-default", path, message, "keep one", key=True)
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
            branch.whole = self._loop(source, edge.loop, (*path, "loop"))
        elif edge.parallel is not None:
            branch.whole = self._map(source, edge.parallel, (*path, "parallel"))

    def _routes(self, source: str, branch: _Branch, routes: list[RouteShape], path: Path) -> Way:
        for i, route in enumerate(routes):
            self._route(source, branch, route, (*path, i))
        return self._finished_routes(branch, path)

    def _route(self, source: str, branch: _Branch, route: RouteShape, path: Path) -> None:
        read = self._read_route(route, path)
        if read is None:
            self.edges.sound = False
            branch.unsure = True
            return
        key, target, where = read
        self._link(source, target, where)
        logic = "default" if key in _DEFAULTS else route.if_ if key == "if" else self._logic(route.condition or "")
        self._add_route(source, branch, logic or "", (*path, key), target)

    def _read_route(self, route: RouteShape, path: Path) -> tuple[str, str, Path] | None:
        """The key that says when the route is taken, where it leads, and where that is written."""
        conditions = [k for k in ("if", "condition", *_DEFAULTS) if self.places.has((*path, k))]
        if len(conditions) != 1:
            if not self.places.lost_a_key(path):
                code = "conflicting-edges" if conditions else "missing-key"
                message = "a route has one of 'if', 'condition' and 'default'"
                self._error(code, path, message, "write {if: …, to: …}")
            return None
        key = conditions[0]
        named = route.default if key == "default" else route.else_
        target = route.to if route.to is not None else named if key in _DEFAULTS and isinstance(named, str) else None
        where = (*path, "to") if route.to is not None else (*path, key)
        if target is None:
            if not self.places.lost_a_key(path):
                self._error("missing-key", path, "the route needs the key 'to'", "add 'to:'", key=True)
            return None
        if key in _DEFAULTS and route.to is not None and named not in (None, True):
            message = f"'{key}' names the node, so 'to' can't name another"
            self._error("conflicting-edges", (*path, "to"), message, "remove one of the two", key=True)
            return None
        return (key, target, where) if self._target(target, where) else None

    def _finished_routes(self, branch: _Branch, path: Path) -> Routes:
        if branch.default is None and not branch.unsure and "edges" not in self.places.damaged:
            message = "no default route: a run that fits no condition would be stuck"
            self._error("missing-default-route", path, message, "add {default: END} or another node", key=True)
        return Routes(tuple(branch.routes), branch.default or END)

    def _loop(self, source: str, loop: LoopShape, path: Path) -> Way | None:
        back = loop.to or source
        ends = [(back, (*path, "to")), (loop.exit_to, (*path, "exit_to"))]
        known = [self._target(target, where) for target, where in ends]
        if source == START:
            self._error("unknown-node", path, "a loop can't start from START", "start it from a node", key=True)
            return None
        if back == END:
            self._error(
                "loop-target", (*path, "to"), "a loop can't lead back to END", "name the node where a turn begins"
            )
            return None
        if loop.exit_to == back:
            self._error(
                "loop-target", (*path, "exit_to"), "the loop exits to where it goes on", "name the node after the loop"
            )
            return None
        logic = self._until(loop, path)
        if logic is None or not all(known):
            return None
        expression = read_condition(self.places, logic[1], logic[0], self.types, self.loops)
        for target, where in ends:
            self._link(source, target, where if self.places.has(where) else path)
        if expression is None:
            self.edges.sound = False
            return None
        return Loop(back, expression, loop.max_iterations, loop.exit_to)

    def _until(self, loop: LoopShape, path: Path) -> tuple[str, Path] | None:
        if (loop.until is None) == (loop.condition_field is None):
            message = "a loop has one of 'until' and 'condition_field'"
            code = "missing-key" if loop.until is None else "conflicting-edges"
            if "edges" in self.places.damaged or self.places.lost_a_key(path):
                self.edges.sound = False
            else:
                self._error(code, path, message, "write until: score > 0.8", key=True)
            return None
        if loop.until is not None:
            return loop.until, (*path, "until")
        name = (loop.condition_field or "").removeprefix("state.")
        where = (*path, "condition_field")
        found = self.fields.get(name)
        if found is None:
            hint = suggest(name, self.fields, "fields")
            self._error("unknown-field", where, f"no field '{name}'", hint)
            return None
        if not accepts(BOOL, without_null(found.type)):
            message = f"'condition_field' names a bool, but '{name}' is {describe(found.type)}"
            self._error("expression-type", where, message, f"write until: {name} == …")
            return None
        return name, where

    def _map(self, source: str, shape: ParallelShape, path: Path) -> Way | None:
        where = (*path, "target_node")
        items = self._list_field(shape.items_field, (*path, "items_field"))
        collect = self._list_field(shape.collect_field, (*path, "collect_field"))
        self.edges.loose_items.add(shape.item or "item")
        if shape.target_node in (START, END) or not self._target(shape.target_node, where):
            if shape.target_node in (START, END):
                self._error("unknown-node", where, f"a map can't run {shape.target_node}", "name a node")
            return None
        if shape.target_node == source:
            self._error("map-target", where, f"'{source}' can't map over itself", "name another node")
            return None
        self.edges.loose_items.discard(shape.item or "item")
        self._link(source, shape.target_node, where)
        found = self.fields.get(collect)
        if found and found.reduce not in ("replace", "extend"):
            message = f"a map can't collect into '{collect}' with 'reduce: {found.reduce}'"
            self._error("reduce-type", (*path, "collect_field"), message, "use extend, or no reduce")
        if shape.on_item_error == "collect" and found and not accepts(found.type, ListOf(ObjectOf())):
            message = f"'collect' puts errors (objects) into '{collect}', which is {describe(found.type)}"
            self._error("type-mismatch", (*path, "on_item_error"), message, f"declare '{collect}' as list")
        return Map(
            target=shape.target_node,
            items_field=items,
            collect_field=collect,
            item=shape.item or "item",
            max_concurrency=shape.max_concurrency,
            on_item_error=shape.on_item_error or "fail",
        )

    def _list_field(self, given: str, path: Path) -> str:
        name = given.strip("{} ").removeprefix("state.")
        found = self.fields.get(name)
        if found is None:
            self._error("unknown-field", path, f"no field '{name}'", suggest(name, self.fields, "fields"))
        elif not isinstance(without_null(found.type), ListOf) and found.type != ANY:
            message = f"'{name}' is {describe(found.type)}, not a list"
            self._error("not-a-list", path, message, f"declare it as list or list[{describe(found.type)}]")
        return name

    def finish(self) -> None:
        for source, branch in self.branches.items():
            way = branch.whole or self._way(branch)
            if way is not None:
                self.edges.ways[source] = way

    def _way(self, branch: _Branch) -> Way | None:
        if branch.conditional is None:
            return Next(tuple(dict.fromkeys(t for t, _ in branch.plain))) if branch.plain else None
        for target, path in branch.plain:
            self._set_default(branch, path, target)
        return self._finished_routes(branch, branch.conditional)
