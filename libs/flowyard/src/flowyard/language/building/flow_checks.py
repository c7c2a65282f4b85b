"""Checks the flow as a whole: that all nodes can be reached and can end, and what they read and write in parallel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from flowyard.language.building.edge_context import Edges
from flowyard.language.flow import Flow
from flowyard.language.nodes import Goto, Node
from flowyard.language.problems import KeyPath
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.expressions import Expression
from flowyard.language.values.references import Finding
from flowyard.language.values.types import ANY, ListOf, ObjectField, ObjectOf, accepts, core, describe
from flowyard.language.workflow import END, START, Field, Loop, Map, Next, Routes, Transition, maps_of

_FLOW_CODES: Final = frozenset({"unknown-node", "duplicate-node", "reserved-name", "map-target"})


def check_flow(document: SourceDocument, fields: Mapping[str, Field], nodes: Mapping[str, Node], edges: Edges) -> None:
    """Reports problems of the flow. Checks are skipped if they depend on parts of the document that are broken."""
    checker = _Checker(document, fields, nodes, edges, Flow(nodes, edges.transitions))
    # Two nodes with the same id, or a node that leads to a node that doesn't exist.
    has_node_problems = any(problem.code in _FLOW_CODES for problem in document.problems)
    if edges.is_complete and not document.incomplete & {"edges", "nodes", "ids"} and not has_node_problems:
        checker.check_cycles()
        checker.check_reachability()
        for source, transition in edges.transitions.items():
            if isinstance(transition, Map):
                checker.check_map(source, transition)
        if "state" not in document.incomplete:
            checker.check_reads()
            checker.check_parallel_writes()


@dataclass(frozen=True, slots=True)
class _Read:
    """A field that `reader` reads, at `path` in the document. `after`: after the node, to choose what follows."""

    reader: str
    field: str
    path: KeyPath
    offset: int
    after: bool = False


@dataclass(slots=True)
class _Checker:
    document: SourceDocument
    fields: Mapping[str, Field]
    nodes: Mapping[str, Node]
    edges: Edges
    flow: Flow

    def path(self, node: str) -> KeyPath:
        return ("nodes", list(self.nodes).index(node), "id")

    def check_reachability(self) -> None:
        if START not in self.edges.transitions:
            first = next(iter(self.nodes))
            hint = f"add {{from: START, to: {first}}}"
            self.document.error("no-start", ("edges",), "no edge comes from START", hint, key=True)
            return
        reached = self.flow.reached_from(START)
        self.report_unreachable(reached)
        if any(problem.code == "loop-without-bound" for problem in self.document.problems):
            return
        ending = self.flow.reaching_end()
        stuck = [node for node in self.nodes if node in reached and node not in ending]
        # Nodes that only lead to a stuck node are stuck as well: report the cause alone.
        last = [node for node in self.nodes if node in reached and node not in self.edges.transitions]
        for node in last or stuck:
            hint = f"add {{from: {node}, to: END}}" if node in last else "add an edge that leads to END"
            message = f"a run can't reach END from node '{node}'"
            if node in ending:
                message = f"no edge says how a run continues when node '{node}' succeeds"
            self.document.error("no-way-to-end", self.path(node), message, hint)

    def report_unreachable(self, reached: frozenset[str]) -> None:
        if any(self.document.has_removed_key(("nodes", i)) for i in range(len(self.nodes))):
            return
        unreachable = [node for node in self.nodes if node not in reached]
        # Nodes that only follow an unreachable node are unreachable as well: report the cause alone.
        for node in [node for node in unreachable if not self.flow.sources_of(node)] or unreachable:
            message = f"no run can reach node '{node}'"
            self.document.error("unreachable-node", self.path(node), message, f"add an edge to '{node}', or remove it")

    def check_cycles(self) -> None:
        for source, target in self.flow.unbounded_cycles():
            message = f"the cycle from '{source}' back to '{target}' may never end"
            hint = "use loop with max_iterations"
            self.document.error("loop-without-bound", self._edge_path(source, target), message, hint)
        for source, transition in self.edges.transitions.items():
            if not isinstance(transition, Loop) or source not in self.nodes:
                continue
            if not self.flow.leads_to(transition.to, source):
                message = f"the loop goes to '{transition.to}', which doesn't lead back to '{source}'"
                path = self.edges.path_of(source, transition.to)
                self.document.error("loop-target", path, message, "loop back to an earlier node")
        # A loop may repeat a fork only if all of the fork's branches join before the loop's end.
        for source, transition in self.edges.transitions.items() if self.flow.forks else ():
            if isinstance(transition, Loop):
                body = self.flow.loop_body(source)
                names = [name for name in self.flow.names if name in body]
                forks = {name: branches for name in names if (branches := self.flow.branches_after(name))}
                self._report_open_branches(source, transition, body, forks)
                for name in names if forks else ():
                    if name != source:
                        self._report_leaving_branch(name, source, body, forks)

    def _report_open_branches(
        self, source: str, loop: Loop, body: frozenset[str], forks: Mapping[str, tuple[str, ...]]
    ) -> None:
        for fork, branches in forks.items():
            outside = [t for t in branches if t not in body]
            if outside:
                message = f"the loop repeats the fork after '{fork}', but doesn't wait for its branch '{outside[0]}'"
                hint = f"join '{outside[0]}' with the others before '{source}'"
                self.document.error("loop-target", self.edges.path_of(source, loop.to), message, hint)

    def _report_leaving_branch(
        self, name: str, source: str, body: frozenset[str], forks: Mapping[str, tuple[str, ...]]
    ) -> None:
        """A branch may not leave a loop while another branch continues with the next iteration."""
        outside = [t for t in self.flow.forward[name] if t != END and t not in body]
        if name in forks or not outside or not self.flow.parallel_to(name) & body:
            return
        forks_before = [fork for fork in forks if self.flow.leads_to(fork, name)]
        open_forks = [f for f in forks_before if not all(self.flow.leads_to(branch, name) for branch in forks[f])]
        for fork in (open_forks or forks_before)[-1:]:
            message = f"'{name}' leaves the loop of '{source}' from inside one branch of the fork after '{fork}'"
            hint = f"leave the loop after '{source}'"
            self.document.error("loop-target", self._edge_path(name, outside[0]), message, hint)

    def _edge_path(self, source: str, target: str) -> KeyPath:
        node = self.nodes.get(source)
        if (source, target) not in self.edges.paths and node is not None and isinstance(node.on_error, Goto):
            return (*self.path(source)[:-1], "on_error", "goto")
        return self.edges.path_of(source, target)

    def check_map(self, source: str, map_: Map) -> None:
        for other in self.flow.sources_of(map_.target):
            if other != source:
                message = f"'{map_.target}' runs once per item of '{map_.items_field}', so no other edge can lead to it"
                self.document.error("map-target", self._edge_path(other, map_.target), message, "lead to another node")
        own = self.edges.transitions.get(map_.target)
        if isinstance(own, Loop) and own.to == map_.target:
            message = f"'{map_.target}' runs once per item, so it can't have a loop to itself"
            path = self.edges.path_of(map_.target, map_.target)
            self.document.error("map-target", path, message, f"loop back to '{source}'")
        node = self.nodes[map_.target]
        field = self.fields.get(map_.collect_field)
        collected = core(field.type) if field else ANY
        outputs = node.outputs
        fields = {output.field: ObjectField(output.type, required=True) for output in outputs}
        given = outputs[0].type if len(outputs) == 1 else ObjectOf(fields)
        if isinstance(collected, ListOf) and not accepts(collected.element, given):
            kind = f"list[{describe(given)}]"
            message = f"'{map_.collect_field}' is {describe(collected)}, but '{map_.target}' gives {kind}"
            self.document.error("type-mismatch", self._collect_path(source, map_), message, f"declare it as {kind}")

    def _collect_path(self, source: str, map_: Map) -> KeyPath:
        return (*self.edges.path_of(source, map_.target)[:-1], "collect_field")

    def check_reads(self) -> None:
        """A field that is read must be an input, or written by a node that can run before."""
        writers = self._writers()
        reached = self.flow.reached_from(START)
        for read in self._reads():
            f = self.fields.get(read.field)
            if read.reader not in reached:
                continue
            writing = writers.get(read.field, {})
            is_own = read.after and read.reader in writing
            if f is None or f.is_input or is_own or self.flow.may_follow(writing, read.reader):
                continue
            hint = "declare it required, or give it a default"
            if read.field in writers:
                writer = min(writing)
                later = read.reader not in self.flow.reached_from(writer) or read.reader == writer
                hint = f"it is written by '{writer}', which {'comes later' if later else 'has failed by then'}"
            message = f"'{read.field}' is read before any node can write it"
            self.document.text_problem(read.path, Finding("read-before-write", message, read.offset, hint))

    def _writers(self) -> dict[str, dict[str, None]]:
        """Per field, the nodes that write it, in the order of the document."""
        writers: dict[str, dict[str, None]] = {}
        maps = maps_of(self.edges.transitions)
        for node in self.nodes.values():
            written = (maps[node.id].collect_field,) if node.id in maps else tuple(o.field for o in node.outputs)
            for field in written:
                writers.setdefault(field, {})[node.id] = None
        return writers

    def _reads(self) -> Iterator[_Read]:
        """All reads of fields."""
        maps = maps_of(self.edges.transitions)
        for i, node in enumerate(self.nodes.values()):
            item = {maps[node.id].item} if node.id in maps else set()
            for text in node.texts():
                for name, offset in text.value.references():
                    if name not in item | text.local:
                        yield _Read(node.id, name, ("nodes", i, *text.path), offset)
        for source, transition in self.edges.transitions.items():
            yield from self._transition_reads(source, transition)

    def _transition_reads(self, source: str, transition: Transition) -> Iterator[_Read]:
        match transition:
            case Map() as map_:
                where = (*self.edges.path_of(source, map_.target)[:-1], "items_field")
                yield _Read(source, map_.items_field, where, 0, after=True)
            case Loop() as loop:
                yield from _condition_reads(source, loop.until, self._loop_path(source, loop))
            case Routes():
                for route in transition.routes:
                    path = self.edges.path_of(source, route.to)
                    where = self.edges.conditions.get((source, route.condition.text, route.to), path)
                    yield from _condition_reads(source, route.condition, where)
            case Next():
                pass
            case _:
                assert_never(transition)

    def _loop_path(self, source: str, loop: Loop) -> KeyPath:
        path = self.edges.path_of(source, loop.to)
        base = path[: path.index("loop") + 1] if "loop" in path else path
        return (*base, "until") if self.document.has((*base, "until")) else (*base, "condition_field")

    def check_parallel_writes(self) -> None:
        writers = self._writers()
        for name, f in self.fields.items():
            if f.reduce == "replace" and not self.document.has_removed_key(("state", "fields", name)):
                self._report_parallel_writers(name, list(writers.get(name, ())))

    def _report_parallel_writers(self, field: str, writers: list[str]) -> None:
        """Reports each writer that may run at the same time as a writer above it in the document."""
        for first, writer in self.flow.parallel_pairs(writers):
            message = f"'{first}' and '{writer}' may write '{field}' at the same time"
            hint = f"give '{field}' a reduce (such as append), or use two fields"
            self.document.error("parallel-writers", self._output_path(writer, field), message, hint)

    def _output_path(self, node: str, field: str) -> KeyPath:
        """The path at which a node's output is declared; for a map's results, that is its edge."""
        for source, transition in self.edges.transitions.items():
            if isinstance(transition, Map) and transition.target == node:
                return self._collect_path(source, transition)
        return (*self.path(node)[:-1], *self.nodes[node].output_path(field))


def _condition_reads(node: str, condition: Expression, path: KeyPath) -> Iterator[_Read]:
    for name, offset in condition.references():
        yield _Read(node, name, path, offset, after=True)
