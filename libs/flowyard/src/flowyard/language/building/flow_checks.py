"""Checks of the flow as a whole, before a model has cost anything: who is reached, who ends, who reads what when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from flowyard.language.building.edge_context import Edges
from flowyard.language.flow import Flow
from flowyard.language.nodes import Goto, Node, NodeText, Output
from flowyard.language.reading.places import Path, Places
from flowyard.language.values.expressions import Expression
from flowyard.language.values.references import Finding
from flowyard.language.values.types import ANY, ListOf, ObjectField, ObjectOf, accepts, describe, without_null
from flowyard.language.workflow import END, START, Field, Loop, Map, Next, Routes, Way

_FLOW_CODES: Final = frozenset({"unknown-node", "duplicate-node", "reserved-name", "map-target"})


def check_flow(places: Places, fields: Mapping[str, Field], nodes: Mapping[str, Node], edges: Edges) -> None:
    """Reports; what depends on parts of the document that are broken already is left out."""
    checker = _Checker(places, fields, nodes, edges, Flow(nodes, edges.ways))
    if edges.sound and not places.damaged & {"edges", "nodes", "ids"} and not _reported_in_nodes(places):
        checker.bounded()
        checker.connected()
        checker.maps()
        if "state" not in places.damaged:
            checker.read_after_write()
            checker.parallel_writes()


def _reported_in_nodes(places: Places) -> bool:
    """Whether a node can't be told from another, or goes to one that isn't there."""
    return any(problem.code in _FLOW_CODES for problem in places.problems)


@dataclass(frozen=True, slots=True)
class _Read:
    """A field that is read, and where that is written. `after`: once the reader is done, to choose its way."""

    reader: str
    field: str
    path: Path
    offset: int
    after: bool = False


@dataclass(slots=True)
class _Checker:
    places: Places
    fields: Mapping[str, Field]
    nodes: Mapping[str, Node]
    edges: Edges
    flow: Flow

    def path(self, node: str) -> Path:
        return ("nodes", list(self.nodes).index(node), "id")

    def connected(self) -> None:
        if START not in self.edges.ways:
            first = next(iter(self.nodes))
            self.places.error(
                "no-start", ("edges",), "no edge comes from START", f"add {{from: START, to: {first}}}", key=True
            )
            return
        reached = self.flow.reached_from(START)
        self.unreachable(reached)
        if any(problem.code == "loop-without-bound" for problem in self.places.problems):
            return
        ending = self.flow.reaching_end()
        stuck = [node for node in self.nodes if node in reached and node not in ending]
        # Where a way ends, all that leads there is stuck as well: tell the cause.
        for node in [node for node in stuck if node not in self.edges.ways] or stuck:
            hint = f"add {{from: {node}, to: END}}" if node not in self.edges.ways else "add a way out"
            self.places.error("no-way-to-end", self.path(node), f"a run can't get from node '{node}' to END", hint)

    def unreachable(self, reached: frozenset[str]) -> None:
        if any(self.places.lost_a_key(("nodes", i)) for i in range(len(self.nodes))):
            return
        lost = [node for node in self.nodes if node not in reached]
        # What only follows a lost node is reached again with it: tell the cause.
        for node in [node for node in lost if not any(True for _ in self.flow.sources_of(node))] or lost:
            message = f"no run can reach node '{node}'"
            self.places.error("unreachable-node", self.path(node), message, f"add an edge to '{node}', or remove it")

    def bounded(self) -> None:
        for source, target in self.flow.unbounded():
            message = f"going from '{source}' back to '{target}' may never end"
            hint = "use loop with max_iterations"
            self.places.error("loop-without-bound", self._edge_path(source, target), message, hint)
        for source, way in self.edges.ways.items():
            if isinstance(way, Loop) and source in self.nodes and source not in self.flow.forward_from(way.to):
                message = f"the loop goes to '{way.to}', which doesn't lead back to '{source}'"
                self.places.error(
                    "loop-target", self.edges.place(source, way.to), message, "loop back to an earlier node"
                )

        self._forks_inside_loops()

    def _forks_inside_loops(self) -> None:
        """A loop may only go back over a fork if all of its branches come together before the loop's end."""
        for source, way in self.edges.ways.items():
            if isinstance(way, Loop):
                body = self.flow.body(source)
                forks = {name: branches for name in self.flow.names if name in body and (branches := self._fork(name))}
                self._branches_outside(source, way, body, forks)
                for name in self.flow.names if forks else ():
                    if name in body and name != source:
                        self._leaving(name, source, body, forks)

    def _fork(self, name: str) -> tuple[str, ...]:
        """The branches that begin after a node, if they are several."""
        way = self.edges.ways.get(name)
        branches = tuple(t for t in way.to if t != END) if isinstance(way, Next) else ()
        return branches if len(branches) > 1 else ()

    def _branches_outside(
        self, source: str, way: Loop, body: frozenset[str], forks: Mapping[str, tuple[str, ...]]
    ) -> None:
        for fork, branches in forks.items():
            outside = [t for t in branches if t not in body]
            if outside:
                message = f"the loop goes back over the fork after '{fork}', and doesn't wait for '{outside[0]}'"
                hint = f"join '{outside[0]}' with the others before '{source}'"
                self.places.error("loop-target", self.edges.place(source, way.to), message, hint)

    def _leaving(self, name: str, source: str, body: frozenset[str], forks: Mapping[str, tuple[str, ...]]) -> None:
        """A branch may not leave a loop while another one goes on to its next turn."""
        outside = [t for t in self.flow.forward[name] if t != END and t not in body]
        if name in forks or not outside or not self.flow.beside(name) & body:
            return
        over = [fork for fork in forks if name in self.flow.forward_from(fork)]
        partly = [f for f in over if any(name not in self.flow.forward_from(branch) for branch in forks[f])]
        for fork in (partly or over)[-1:]:
            message = f"'{name}' leaves the loop of '{source}' from inside one branch of the fork after '{fork}'"
            hint = f"leave the loop after '{source}'"
            self.places.error("loop-target", self._edge_path(name, outside[0]), message, hint)

    def _edge_path(self, source: str, target: str) -> Path:
        node = self.nodes.get(source)
        if (source, target) not in self.edges.paths and node is not None and isinstance(node.on_error, Goto):
            return (*self.path(source)[:-1], "on_error", "goto")
        return self.edges.place(source, target)

    def maps(self) -> None:
        for source, way in self.edges.ways.items():
            if isinstance(way, Map):
                self._map(source, way)

    def _map(self, source: str, way: Map) -> None:
        for other in self.flow.sources_of(way.target):
            if other != source:
                message = f"'{way.target}' runs once per item of '{way.items_field}', so no other edge can lead to it"
                self.places.error("map-target", self._edge_path(other, way.target), message, "lead to another node")
        own = self.edges.ways.get(way.target)
        if isinstance(own, Loop) and own.to == way.target:
            message = f"'{way.target}' runs once per item, so it can't loop by itself"
            self.places.error(
                "map-target", self.edges.place(way.target, way.target), message, f"loop back to '{source}'"
            )
        node = self.nodes[way.target]
        field = self.fields.get(way.collect_field)
        collected = without_null(field.type) if field else ANY
        given = node.outputs[0].type if len(node.outputs) == 1 else ObjectOf({o.field: _whole(o) for o in node.outputs})
        if isinstance(collected, ListOf) and not accepts(collected.element, given):
            kind = f"list[{describe(given)}]"
            message = f"'{way.collect_field}' is {describe(collected)}, but '{way.target}' gives {kind}"
            self.places.error("type-mismatch", self._collect_path(source, way), message, f"declare it as {kind}")

    def _collect_path(self, source: str, way: Map) -> Path:
        return (*self.edges.place(source, way.target)[:-1], "collect_field")

    def read_after_write(self) -> None:
        """A field must be an input, or written by a node that can come before its reader."""
        before = self.flow.comes_before()
        writers = self._writers()
        reached = self.flow.reached_from(START)
        for read in self._reads():
            f = self.fields.get(read.field)
            if read.reader not in reached:
                continue
            passed = before[read.reader] | {read.reader} if read.after else before[read.reader]
            if f is None or f.is_input or writers.get(read.field, frozenset()) & passed:
                continue
            owners = sorted(writers.get(read.field, ()))
            hint = (
                f"it is written by '{owners[0]}', which {self._unread(owners[0], read.reader)}"
                if owners
                else "declare it required, or give it a default"
            )
            finding = Finding(
                "read-before-write",
                f"'{read.field}' is read before anything can have written it",
                read.offset,
                hint,
            )
            self.places.inside(read.path, finding)

    def _unread(self, writer: str, reader: str) -> str:
        later = reader not in self.flow.reached_from(writer) or reader == writer
        return "comes later" if later else "has failed by then"

    def _writers(self) -> dict[str, frozenset[str]]:
        writers: dict[str, frozenset[str]] = {}
        maps = {way.target: way for way in self.edges.ways.values() if isinstance(way, Map)}
        for node in self.nodes.values():
            written = (maps[node.id].collect_field,) if node.id in maps else tuple(o.field for o in node.outputs)
            for field in written:
                writers[field] = writers.get(field, frozenset()) | {node.id}
        return writers

    def _reads(self) -> Iterator[_Read]:
        """Who reads which field, and where that is written."""
        maps = {way.target: way for way in self.edges.ways.values() if isinstance(way, Map)}
        for i, node in enumerate(self.nodes.values()):
            item = {maps[node.id].item} if node.id in maps else set()
            for text in node.texts():
                yield from _text_reads(node.id, text, ("nodes", i, *text.path), item | text.local)
        for source, way in self.edges.ways.items():
            yield from self._way_reads(source, way)

    def _way_reads(self, source: str, way: Way) -> Iterator[_Read]:
        match way:
            case Map():
                where = (*self.edges.place(source, way.target)[:-1], "items_field")
                yield _Read(source, way.items_field, where, 0, after=True)
            case Loop():
                where = self._loop_path(source, way)
                yield from _condition_reads(source, way.until, where)
            case Routes():
                for route in way.routes:
                    yield from _condition_reads(
                        source, route.condition, self._route_path(source, route.condition, route.to)
                    )
            case Next():
                pass
            case _:
                assert_never(way)

    def _loop_path(self, source: str, way: Loop) -> Path:
        place = self.edges.place(source, way.to)
        base = place[: place.index("loop") + 1] if "loop" in place else place
        return (*base, "until") if self.places.has((*base, "until")) else (*base, "condition_field")

    def _route_path(self, source: str, condition: Expression, target: str) -> Path:
        return self.edges.conditions.get((source, condition.text, target), self.edges.place(source, target))

    def parallel_writes(self) -> None:
        writers = self._writers()
        for name, f in self.fields.items():
            if f.reduce == "replace" and not self.places.lost_a_key(("state", "fields", name)):
                self._writers_beside(name, [n for n in self.nodes if n in writers.get(name, ())])

    def _writers_beside(self, field: str, writers: list[str]) -> None:
        """Each writer that may run at the same time as one that stands before it in the document."""
        before: set[str] = set()
        for writer in writers if len(writers) > 1 else ():
            beside = self.flow.beside(writer) & before
            if beside:
                first = next(n for n in writers if n in beside)
                message = f"'{first}' and '{writer}' may write '{field}' at the same time"
                hint = f"give '{field}' a reduce (such as append), or use two fields"
                self.places.error("parallel-writers", self._output_path(writer, field), message, hint)
            before.add(writer)

    def _output_path(self, node: str, field: str) -> Path:
        """Where a node says that it writes a field; a map's results are named at its edge."""
        for source, way in self.edges.ways.items():
            if isinstance(way, Map) and way.target == node:
                return self._collect_path(source, way)
        return (*self.path(node)[:-1], *self.nodes[node].output_path(field))


def _whole(output: Output) -> ObjectField:
    return ObjectField(output.type, required=True)


def _text_reads(node: str, text: NodeText, path: Path, local: set[str]) -> Iterator[_Read]:
    for name, offset in text.value.references():
        if name not in local:
            yield _Read(node, name, path, offset)


def _condition_reads(node: str, condition: Expression, path: Path) -> Iterator[_Read]:
    for name, offset in condition.references():
        yield _Read(node, name, path, offset, after=True)
