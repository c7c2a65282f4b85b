"""The graph of a workflow as sets of nodes: who comes before, after, beside whom. Shared by checks and engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import combinations
from typing import assert_never

from flowyard.language.workflow import END, START, Goto, Loop, Map, Next, Node, Routes, Way


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
        self.names = [START, *nodes]
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
        """Per node, the nodes that may have run before it begins; under `node.` those before its way is chosen."""
        before: dict[str, set[str]] = {name: set() for name in self.names}
        for name in self.names:
            for later in _closure(self.after[name], self.after):
                if later in before:
                    before[later].add(name)
        return {
            **{name: frozenset(found) for name, found in before.items()},
            **{f"{name}.": frozenset(found | {name}) for name, found in before.items()},
        }

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

    def parallel(self, a: str, b: str) -> bool:
        """Whether two nodes may run at the same time: in different branches of a fork, before these meet."""
        if b in self.forward_from(a) or a in self.forward_from(b):
            return False
        for branches in self.forks:
            for left, right in combinations(branches, 2):
                in_left, in_right = self.forward_from(left), self.forward_from(right)
                if (a in in_left - in_right and b in in_right - in_left) or (
                    b in in_left - in_right and a in in_right - in_left
                ):
                    return True
        return False


def _closure(start: Iterable[str], edges: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    seen = set(start)
    pending = list(seen)
    while pending:
        for target in edges.get(pending.pop(), ()):
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return frozenset(seen)
