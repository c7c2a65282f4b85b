"""Checks of the flow as a whole, before a model has cost anything: who is reached, who ends, who reads what when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final, assert_never

from flowyard.language.build_edges import Edges
from flowyard.language.expressions import Expression, roots
from flowyard.language.flow import Flow
from flowyard.language.places import Path, Places
from flowyard.language.references import Finding
from flowyard.language.templates import Template
from flowyard.language.types import ListOf, accepts, describe, without_null
from flowyard.language.workflow import END, START, Field, Goto, Loop, Map, Next, Node, Routes, Way


_FLOW_CODES: Final = frozenset(
    {"unknown-node", "conflicting-edges", "loop-target", "map-target", "not-a-list", "missing-default-route"}
    | {"expression-syntax", "expression-type", "duplicate-node", "reserved-name"}
)


def check_flow(places: Places, fields: Mapping[str, Field], nodes: Mapping[str, Node], edges: Edges) -> None:
    """Reports; what depends on parts of the document that are broken already is left out."""
    checker = _Checker(places, fields, nodes, edges, Flow(nodes, edges.ways))
    if not places.damaged & {"edges", "nodes"} and not _reported_in_edges(places):
        checker.connected()
        checker.bounded()
        checker.maps()
        if "state" not in places.damaged:
            checker.read_after_write()
            checker.parallel_writes()


def _reported_in_edges(places: Places) -> bool:
    """Whether the edges have problems of their own, so that the flow isn't yet what its author means."""
    return any(problem.code in _FLOW_CODES for problem in places.problems)


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
            self.places.error("no-start", ("edges",), "no edge comes from START", f"add {{from: START, to: {first}}}", key=True)
            return
        reached = self.flow.reached_from(START)
        for node in self.nodes:
            if node not in reached:
                message = f"no run can reach node '{node}'"
                self.places.error("unreachable-node", self.path(node), message, f"add an edge to '{node}', or remove it")
        ending = self.flow.reaching_end()
        for node in self.nodes:
            if node in reached and node not in ending:
                hint = f"add {{from: {node}, to: END}}" if node not in self.edges.ways else "add a way out"
                self.places.error("no-way-to-end", self.path(node), f"a run can't get from node '{node}' to END", hint)

    def bounded(self) -> None:
        for source, target in self.flow.unbounded():
            message = f"going from '{source}' back to '{target}' may never end"
            hint = "use loop with max_iterations"
            self.places.error("loop-without-bound", self._edge_path(source, target), message, hint)
        for source, way in self.edges.ways.items():
            if isinstance(way, Loop) and source in self.nodes and source not in self.flow.forward_from(way.to):
                message = f"the loop goes to '{way.to}', which doesn't lead back to '{source}'"
                self.places.error("loop-target", self.edges.place(source, way.to), message, "loop back to an earlier node")

    def _edge_path(self, source: str, target: str) -> Path:
        node = self.nodes.get(source)
        if (source, target) not in self.edges.paths and node is not None and isinstance(node.on_error, Goto):
            return (*self.path(source)[:-1], "on_error")
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
            self.places.error("map-target", self.edges.place(way.target, way.target), message, f"loop back to '{source}'")
        node = self.nodes[way.target]
        collected = without_null(self.fields[way.collect_field].type)
        if isinstance(collected, ListOf) and len(node.outputs) == 1:
            if not accepts(collected.element, node.outputs[0].type):
                kind = f"list[{describe(node.outputs[0].type)}]"
                message = f"'{way.collect_field}' is {describe(collected)}, but '{way.target}' gives {kind}"
                self.places.error("type-mismatch", self._collect_path(source, way), message, f"declare it as {kind}")

    def _collect_path(self, source: str, way: Map) -> Path:
        return (*self.edges.place(source, way.target)[:-1], "collect_field")

    def read_after_write(self) -> None:
        """A field must be an input, or written by a node that can come before its reader."""
        before = self.flow.comes_before()
        writers = self._writers()
        reached = self.flow.reached_from(START)
        for reader, field, path, offset in self._reads():
            f = self.fields.get(field)
            if reader.removesuffix(".") not in reached:
                continue
            earlier = writers.get(field, frozenset()) & before[reader]
            if f is None or f.is_input or earlier:
                continue
            owners = sorted(writers.get(field, ()))
            hint = f"it is written by '{owners[0]}', which comes later" if owners else "declare it required, or give it a default"
            finding = Finding("read-before-write", f"'{field}' is read before anything can have written it", offset, hint)
            self.places.inside(path, finding)

    def _writers(self) -> dict[str, frozenset[str]]:
        writers: dict[str, frozenset[str]] = {}
        maps = {way.target: way for way in self.edges.ways.values() if isinstance(way, Map)}
        for node in self.nodes.values():
            written = (maps[node.id].collect_field,) if node.id in maps else tuple(o.field for o in node.outputs)
            for field in written:
                writers[field] = writers.get(field, frozenset()) | {node.id}
        return writers

    def _reads(self) -> Iterator[tuple[str, str, Path, int]]:
        """Who reads which field, and where that is written. A way is read after its node: `node.`."""
        maps = {way.target: way for way in self.edges.ways.values() if isinstance(way, Map)}
        for i, node in enumerate(self.nodes.values()):
            local = {maps[node.id].item} if node.id in maps else set()
            path: Path = ("nodes", i)
            for name, value in node.inputs.items():
                if isinstance(value, Template):
                    yield from _template_reads(node.id, value, (*path, "inputs", name), local)
            local |= set(node.inputs)
            yield from _template_reads(node.id, node.prompt, (*path, "prompt"), local)
            if node.system is not None:
                yield from _template_reads(node.id, node.system, (*path, "system"), local)
        for source, way in self.edges.ways.items():
            yield from self._way_reads(source, way)

    def _way_reads(self, source: str, way: Way) -> Iterator[tuple[str, str, Path, int]]:
        after = f"{source}."
        match way:
            case Map():
                where = (*self.edges.place(source, way.target)[:-1], "items_field")
                yield after, way.items_field, where, 0
            case Loop():
                where = self._loop_path(source, way)
                yield from _expression_reads(after, way.until, where)
            case Routes():
                for route in way.routes:
                    yield from _expression_reads(after, route.condition, self._route_path(source, route.condition, route.to))
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
            nodes = sorted(writers.get(name, ())) if f.reduce == "replace" else []
            pair = next((pair for pair in combinations(nodes, 2) if self.flow.parallel(*pair)), None)
            if pair is not None:
                message = f"'{pair[0]}' and '{pair[1]}' may write '{name}' at the same time"
                hint = f"give '{name}' a reduce (such as append), or use two fields"
                self.places.error("parallel-writers", self._output_path(pair[1], name), message, hint)

    def _output_path(self, node: str, field: str) -> Path:
        """Where a node says that it writes a field; a map's results are named at its edge."""
        names = [output.field for output in self.nodes[node].outputs]
        for source, way in self.edges.ways.items():
            if isinstance(way, Map) and way.target == node:
                return self._collect_path(source, way)
        return (*self.path(node)[:-1], "outputs", names.index(field))


def _template_reads(node: str, template: Template, path: Path, local: set[str]) -> Iterator[tuple[str, str, Path, int]]:
    for placeholder in template.placeholders:
        if placeholder.root not in local:
            yield node, placeholder.root, path, placeholder.offset + 1


def _expression_reads(after: str, expression: Expression, path: Path) -> Iterator[tuple[str, str, Path, int]]:
    for name, node in roots(expression.tree):
        yield after, name, path, node.col_offset
