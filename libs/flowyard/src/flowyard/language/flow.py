"""The graph of a workflow: which nodes can run before, after or in parallel to a node. For checks and engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import compress
from typing import assert_never

from flowyard.language.nodes import Goto, Node
from flowyard.language.workflow import END, START, Loop, Map, Next, Routes, Transition


def targets(transition: Transition) -> tuple[str, ...]:
    """All nodes (or END) that a transition may lead to."""
    match transition:
        case Next(to):
            return to
        case Routes(routes, default):
            return tuple(dict.fromkeys([*(route.to for route in routes), default]))
        case Loop():
            return (transition.to, transition.exit_to)
        case Map():
            return (transition.target,)
        case _:
            assert_never(transition)


class Flow:
    """The graph of one workflow. `successors`: of each node, including START; `forward`: without loops' edges back."""

    def __init__(self, nodes: Mapping[str, Node], transitions: Mapping[str, Transition]) -> None:
        self.nodes = nodes
        self.transitions = transitions
        joins = [place for place in transitions if place != START and place not in nodes]
        self.names = [START, *nodes, *joins]
        self.successors = {name: self._targets(name, back=True) for name in self.names}
        self.forward = {name: self._targets(name, back=False) for name in self.names}
        # Sets of nodes are the bits of ints: in a large flow, sets of names would take seconds.
        self._bits = {name: 1 << i for i, name in enumerate(self.names)}

    def _targets(self, name: str, *, back: bool) -> tuple[str, ...]:
        transition, result = self.transitions.get(name), self._transition_targets(name)
        if isinstance(transition, Loop) and not back:
            result = (transition.exit_to,)
        node = self.nodes.get(name)
        return (*result, node.on_error.node) if node is not None and isinstance(node.on_error, Goto) else result

    def sources_of(self, target: str) -> Sequence[str]:
        """The nodes from which an edge leads to `target`."""
        return self._sources.get(target, ())

    @cached_property
    def _sources(self) -> dict[str, list[str]]:
        return _reversed(self.successors)

    def reached_from(self, start: str) -> frozenset[str]:
        """All nodes on a path from `start`, and `start` itself."""
        return _closure([start], self.successors)

    def leads_to(self, start: str, target: str) -> bool:
        """Whether a path without loops' edges back leads from `start` to `target`, which may be the same node."""
        return bool(self._forward_from.get(start, 0) & self._bits.get(target, 0))

    @cached_property
    def _forward_from(self) -> dict[str, int]:
        """Per node, as bits, the nodes to which it leads, and itself."""
        return self._closures(self.forward, self.forward_order[::-1] or self.names)

    @cached_property
    def _forward_to(self) -> dict[str, int]:
        """Per node, as bits, the nodes that lead to it, and itself."""
        return self._closures(self._forward_sources, self.forward_order or self.names)

    def _closures(self, edges: Mapping[str, Sequence[str]], order: Sequence[str]) -> dict[str, int]:
        """What each node reaches by the edges. In an order of the graph a single pass is enough."""
        reached = dict(self._bits)
        changes = True
        while changes:
            changes = False
            for name in order:
                bits = reached[name]
                for target in edges.get(name, ()):
                    bits |= reached.get(target, 0)
                changes, reached[name] = changes or bits != reached[name], bits
            changes = changes and not self.forward_order
        return reached

    def reaching_end(self) -> frozenset[str]:
        """All nodes from which a path leads to END, and END itself."""
        return _closure([END], _reversed(self.successors))

    def may_follow(self, earlier: Iterable[str], name: str) -> bool:
        """Whether one of the nodes may have finished, and written its outputs, before `name` begins.

        A node whose error led to another node has written nothing.
        """
        before = self._possible_predecessors[name]
        return any(before & self._bits[node] for node in earlier)

    @cached_property
    def _possible_predecessors(self) -> dict[str, int]:
        before = dict.fromkeys(self.names, 0)
        order = self.forward_order or self.names
        pending = set(order)
        while pending:
            # In this order, only the edges back of loops lead to another round.
            for name in order:
                if name in pending:
                    pending.discard(name)
                    pending |= self._pass_on(name, before)
        return before

    def _pass_on(self, name: str, before: dict[str, int]) -> set[str]:
        """Adds the predecessors of a node, and itself, to those of its successors. Returns which have changed."""
        without_error = self._transition_targets(name)
        changed = set()
        for target in self.successors[name]:
            passed = before[name] | (self._bits[name] if target in without_error else 0)
            if target in before and passed & ~before[target]:
                before[target] |= passed
                changed.add(target)
        return changed

    def _transition_targets(self, name: str) -> tuple[str, ...]:
        """The successors of a node that doesn't fail."""
        transition = self.transitions.get(name)
        return targets(transition) if transition is not None else ()

    def _named(self, bits: int) -> frozenset[str]:
        # The digits of the number, from the last to the first.
        return frozenset(compress(self.names, map(int, reversed(f"{bits:b}"))))

    def unbounded_cycles(self) -> Iterator[tuple[str, str]]:
        """The edges that close a cycle without a loop, so that nothing limits its iterations."""
        done: set[str] = set()
        for start in self.names:
            path = {start: None}
            pending = [(start, iter(self.forward[start]))] if start not in done else []
            while pending:
                name, rest = pending[-1]
                target = next(rest, None)
                if target is None:
                    pending.pop()
                    path.popitem()
                    done.add(name)
                elif target in path:
                    yield name, target
                elif target in self.forward and target not in done:
                    path[target] = None
                    pending.append((target, iter(self.forward[target])))

    @cached_property
    def forks(self) -> tuple[tuple[str, ...], ...]:
        """The targets of each node after which a run continues in several branches."""
        return tuple(branches for name in self.transitions if (branches := self.branches_after(name)))

    def branches_after(self, name: str) -> tuple[str, ...]:
        """The branches that begin after a node, if there are several."""
        transition = self.transitions.get(name)
        branches = tuple(t for t in transition.to if t != END) if isinstance(transition, Next) else ()
        return branches if len(branches) > 1 else ()

    def loop_body(self, source: str) -> frozenset[str]:
        """The nodes that run again in each iteration of the loop that starts from `source`."""
        transition = self.transitions.get(source)
        again = self._forward_from.get(transition.to, 0) if isinstance(transition, Loop) else 0
        return self._named(again & self._forward_to[source])

    def parallel_to(self, name: str) -> frozenset[str]:
        """The nodes that may run at the same time as this node."""
        return self._named(self._parallel.get(name, 0))

    def parallel_pairs(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Each of `names` that may run at the same time as one before it in `names`, with the first such node."""
        before = 0
        for name in names:
            if parallel := self._parallel.get(name, 0) & before:
                yield next(other for other in names if self._bits[other] & parallel), name
            before |= self._bits[name]

    @cached_property
    def _parallel(self) -> dict[str, int]:
        """Per node, as bits, the nodes that can run at the same time.

        Two nodes run at the same time if paths from two branches of one fork lead to them, and the paths share no node:
        at a shared node, the branches join. Of such a pair, the later node (in the forward order) begins a branch, or
        its predecessor forms such a pair with the earlier node. A node that leads to the other node runs
        before it: such a pair doesn't count.
        """
        order, bits = self.forward_order, self._bits
        pairs = dict.fromkeys(order, 0)
        earlier = dict.fromkeys(order, 0)
        at_start = self._parallel_at_start()
        visited = 0
        for name in order:
            parallel_to = at_start[name]
            for source in self._forward_sources.get(name, ()):
                parallel_to |= pairs[source]
                earlier[name] |= earlier[source] | bits[source]
            pairs[name] = parallel_to & visited
            for other in self._named(pairs[name]):
                pairs[other] |= bits[name]
            visited |= bits[name]
        result = {name: pairs[name] & ~earlier[name] for name in order}
        return {
            name: sum(bits[other] for other in self._named(result[name]) if result[other] & bits[name])
            for name in order
        }

    def _parallel_at_start(self) -> dict[str, int]:
        """Per node that begins a branch, all nodes to which the other branches of its fork lead."""
        at_start = dict.fromkeys(self.forward_order, 0)
        for branches in self.forks:
            starts = [branch for branch in branches if branch in at_start]
            for order_of_branches in (starts, starts[::-1]):
                passed = 0
                for branch in order_of_branches:
                    at_start[branch] |= passed
                    passed |= self._forward_from[branch]
        return at_start

    @cached_property
    def _forward_sources(self) -> dict[str, list[str]]:
        return _reversed(self.forward)

    @cached_property
    def forward_order(self) -> list[str]:
        """The nodes in topological order of the forward edges; empty if these have a cycle."""
        try:
            sources = {name: self._forward_sources.get(name, ()) for name in self.names}
            return list(TopologicalSorter(sources).static_order())
        except CycleError:
            return []


def _reversed(edges: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for source, reached in edges.items():
        for target in reached:
            sources.setdefault(target, []).append(source)
    return sources


def _closure(start: Iterable[str], edges: Mapping[str, Sequence[str]]) -> frozenset[str]:
    visited = set(start)
    pending = list(visited)
    while pending:
        for target in edges.get(pending.pop(), ()):
            if target not in visited:
                visited.add(target)
                pending.append(target)
    return frozenset(visited)
