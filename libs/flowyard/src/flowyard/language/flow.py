"""The graph of a workflow as sets of nodes: who comes before, after, beside whom. Shared by checks and engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import assert_never

from flowyard.language.nodes import Goto, Node
from flowyard.language.workflow import END, START, Loop, Map, Next, Routes, Way


def targets(way: Way) -> tuple[str, ...]:
    """Every node (or END) that a way may lead to."""
    match way:
        case Next(to):
            return to
        case Routes(routes, default):
            return tuple(dict.fromkeys([*(route.to for route in routes), default]))
        case Loop():
            return (way.to, way.exit_to)
        case Map():
            return (way.target,)
        case _:
            assert_never(way)


class Flow:
    """Answers questions about the nodes of one workflow. `forward` leaves out the edges by which loops go back."""

    def __init__(self, nodes: Mapping[str, Node], ways: Mapping[str, Way]) -> None:
        self.nodes = nodes
        self.ways = ways
        joins = [place for place in ways if place != START and place not in nodes]
        self.names = [START, *nodes, *joins]
        self.after = {name: self._targets(name, back=True) for name in self.names}
        self.forward = {name: self._targets(name, back=False) for name in self.names}

    def _targets(self, name: str, *, back: bool) -> tuple[str, ...]:
        way = self.ways.get(name)
        found = targets(way) if way is not None else ()
        if isinstance(way, Loop) and not back:
            found = (way.exit_to,)
        node = self.nodes.get(name)
        if node is not None and isinstance(node.on_error, Goto):
            found = (*found, node.on_error.node)
        return found

    def sources_of(self, target: str) -> Iterator[str]:
        return (name for name in self.names if target in self.after[name])

    def reached_from(self, start: str) -> frozenset[str]:
        """Every node on some path from `start`, `start` itself included."""
        return _closure([start], self.after)

    def forward_from(self, start: str) -> frozenset[str]:
        """As `reached_from`, without going back by a loop."""
        return self._forward_closures.get(start, frozenset())

    @cached_property
    def _forward_closures(self) -> dict[str, frozenset[str]]:
        return {name: _closure([name], self.forward) for name in self.names}

    def reaching_end(self) -> frozenset[str]:
        before: dict[str, list[str]] = {}
        for name in self.names:
            for target in self.after[name]:
                before.setdefault(target, []).append(name)
        return _closure([END], {name: tuple(found) for name, found in before.items()})

    def comes_before(self) -> dict[str, frozenset[str]]:
        """Per node, the nodes that may have run, and written, before it begins.

        Where an error leads elsewhere the node itself has written nothing.
        """
        bits = {name: 1 << i for i, name in enumerate(self.names)}
        before = dict.fromkeys(self.names, 0)
        pending = set(self.names)
        while pending:
            name = pending.pop()
            usual = self._usual(name)
            for target in self.after[name]:
                passed = before[name] | (bits[name] if target in usual else 0)
                if target in before and passed & ~before[target]:
                    before[target] |= passed
                    pending.add(target)
        return {name: self._named(found) for name, found in before.items()}

    def _usual(self, name: str) -> tuple[str, ...]:
        """Where a node goes on to if nothing fails."""
        way = self.ways.get(name)
        return targets(way) if way is not None else ()

    def _named(self, bits: int) -> frozenset[str]:
        return frozenset(name for i, name in enumerate(self.names) if bits >> i & 1)

    def unbounded(self) -> Iterator[tuple[str, str]]:
        """The edges that close a cycle in which no loop counts."""
        done: set[str] = set()
        for start in self.names:
            path: list[str] = []
            pending: list[tuple[str, Iterator[str]]] = []
            if start not in done:
                path.append(start)
                pending.append((start, iter(self.forward[start])))
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
        """The targets of each place where a run goes on in several branches."""
        found = []
        for way in self.ways.values():
            if isinstance(way, Next):
                branches = tuple(t for t in way.to if t != END)
                if len(branches) > 1:
                    found.append(branches)
        return tuple(found)

    def body(self, source: str) -> frozenset[str]:
        """The nodes that run again with each turn of the loop that starts from `source`."""
        way = self.ways.get(source)
        again = self.forward_from(way.to) if isinstance(way, Loop) else frozenset()
        return frozenset(name for name in again if source in self.forward_from(name))

    def beside(self, name: str) -> frozenset[str]:
        """The nodes that may run at the same time as this one."""
        return self._named(self._beside.get(name, 0))

    @cached_property
    def _beside(self) -> dict[str, int]:
        """Per node, as bits, those that a run can be at while it is at the node.

        A run is at two nodes at once if paths lead to them from two branches of one fork and never share a node: where
        they share one, the branches meet and go on as one. Of such a pair, the later one (in an order in which all
        edges lead onward) begins a branch, or was entered from a node that makes such a pair with the earlier one. A
        node that leads to the other is waited for.
        """
        order = self._onward
        bits = {name: 1 << self.names.index(name) for name in order}
        pairs = dict.fromkeys(order, 0)
        earlier = dict.fromkeys(order, 0)
        entered = self._entered_beside(order, bits)
        seen = 0
        for name in order:
            beside = entered[name]
            for source in self._forward_sources.get(name, ()):
                beside |= pairs[source]
                earlier[name] |= earlier[source] | bits[source]
            pairs[name] = beside & seen
            for other in self._named(pairs[name]):
                pairs[other] |= bits[name]
            seen |= bits[name]
        found = {name: pairs[name] & ~earlier[name] for name in order}
        return {name: self._mutual(name, found, bits) for name in order}

    def _mutual(self, name: str, found: dict[str, int], bits: dict[str, int]) -> int:
        return sum(bits[other] for other in self._named(found[name]) if found[other] & bits[name])

    def _entered_beside(self, order: list[str], bits: dict[str, int]) -> dict[str, int]:
        """Per node at which a branch begins, all that the other branches of its fork lead to."""
        later: dict[str, int] = {}
        for name in reversed(order):
            later[name] = bits[name]
            for target in self.forward[name]:
                later[name] |= later.get(target, 0)
        entered = dict.fromkeys(order, 0)
        for branches in self.forks:
            known = [branch for branch in branches if branch in bits]
            for one_way in (known, known[::-1]):
                passed = 0
                for branch in one_way:
                    entered[branch] |= passed
                    passed |= later[branch]
        return entered

    @cached_property
    def _forward_sources(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.names:
            for target in self.forward[name]:
                found.setdefault(target, []).append(name)
        return found

    @cached_property
    def _onward(self) -> list[str]:
        """The nodes in an order in which all forward edges lead onward; none where a cycle allows no such order."""
        try:
            order = list(
                TopologicalSorter({name: self._forward_sources.get(name, ()) for name in self.names}).static_order()
            )
        except CycleError:
            return []
        return order


def _closure(start: Iterable[str], edges: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    seen = set(start)
    pending = list(seen)
    while pending:
        for target in edges.get(pending.pop(), ()):
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return frozenset(seen)
