"""The graph of a workflow: which nodes can run before, after or in parallel to a node. For checks and engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
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

    def _targets(self, name: str, *, back: bool) -> tuple[str, ...]:
        transition, result = self.transitions.get(name), self._transition_targets(name)
        if isinstance(transition, Loop) and not back:
            result = (transition.exit_to,)
        node = self.nodes.get(name)
        return (*result, node.on_error.node) if node is not None and isinstance(node.on_error, Goto) else result

    def sources_of(self, target: str) -> Iterator[str]:
        """The nodes from which an edge leads to `target`."""
        return (name for name in self.names if target in self.successors[name])

    def reached_from(self, start: str) -> frozenset[str]:
        """All nodes on a path from `start`, and `start` itself."""
        return _closure([start], self.successors)

    def forward_from(self, start: str) -> frozenset[str]:
        """All nodes that `reached_from` returns, without loops' edges back."""
        return self._reachable_forward.get(start, frozenset())

    @cached_property
    def _reachable_forward(self) -> dict[str, frozenset[str]]:
        return {name: _closure([name], self.forward) for name in self.names}

    def reaching_end(self) -> frozenset[str]:
        """All nodes from which a path leads to END, and END itself."""
        return _closure([END], _reversed(self.successors))

    def possible_predecessors(self) -> dict[str, frozenset[str]]:
        """Per node, the nodes that may have finished, and written their outputs, before it begins.

        A node whose error led to another node has written nothing.
        """
        bits = {name: 1 << i for i, name in enumerate(self.names)}
        before = dict.fromkeys(self.names, 0)
        pending = set(self.names)
        while pending:
            name = pending.pop()
            without_error = self._transition_targets(name)
            for target in self.successors[name]:
                passed = before[name] | (bits[name] if target in without_error else 0)
                if target in before and passed & ~before[target]:
                    before[target] |= passed
                    pending.add(target)
        return {name: self._named(predecessors) for name, predecessors in before.items()}

    def _transition_targets(self, name: str) -> tuple[str, ...]:
        """The successors of a node that doesn't fail."""
        transition = self.transitions.get(name)
        return targets(transition) if transition is not None else ()

    def _named(self, bits: int) -> frozenset[str]:
        return frozenset(name for i, name in enumerate(self.names) if bits >> i & 1)

    def unbounded_cycles(self) -> Iterator[tuple[str, str]]:
        """The edges that close a cycle without a loop, so that nothing limits its iterations."""
        done: set[str] = set()
        for start in self.names:
            path = [start]
            pending = [(start, iter(self.forward[start]))] if start not in done else []
            while pending:
                name, rest = pending[-1]
                target = next(rest, None)
                if target is None:
                    pending.pop()
                    path.pop()
                    done.add(name)
                elif target in path:
                    yield name, target
                elif target in self.forward and target not in done:
                    path.append(target)
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
        again = self.forward_from(transition.to) if isinstance(transition, Loop) else frozenset()
        return frozenset(name for name in again if source in self.forward_from(name))

    def parallel_to(self, name: str) -> frozenset[str]:
        """The nodes that may run at the same time as this node."""
        return self._named(self._parallel.get(name, 0))

    @cached_property
    def _parallel(self) -> dict[str, int]:
        """Per node, as bits, the nodes that can run at the same time.

        Two nodes run at the same time if paths from two branches of one fork lead to them, and the paths share no node:
        at a shared node, the branches join. Of such a pair, the later node (in the forward order) begins a branch, or
        its predecessor forms such a pair with the earlier node. A node that leads to the other node runs
        before it: such a pair doesn't count.
        """
        order = self.forward_order
        bits = {name: 1 << self.names.index(name) for name in order}
        pairs = dict.fromkeys(order, 0)
        earlier = dict.fromkeys(order, 0)
        at_start = self._parallel_at_start(order, bits)
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

    def _parallel_at_start(self, order: list[str], bits: dict[str, int]) -> dict[str, int]:
        """Per node that begins a branch, all nodes to which the other branches of its fork lead."""
        later: dict[str, int] = {}
        for name in reversed(order):
            later[name] = bits[name]
            for target in self.forward[name]:
                later[name] |= later.get(target, 0)
        at_start = dict.fromkeys(order, 0)
        for branches in self.forks:
            starts = [branch for branch in branches if branch in bits]
            for order_of_branches in (starts, starts[::-1]):
                passed = 0
                for branch in order_of_branches:
                    at_start[branch] |= passed
                    passed |= later[branch]
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
