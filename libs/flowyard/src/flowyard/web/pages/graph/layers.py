"""Arranges nodes in layers, each in an order with few crossing edges (after Sugiyama, Tagawa and Toda, 1981)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Final, TypeAlias

Pair: TypeAlias = tuple[str, str]
_SWEEPS: Final = 4
_MOST_BENDS: Final = 1_000
"""The longest edges get none if there would be more: they are straight, and may cross nodes."""


@dataclass(frozen=True, slots=True)
class Layers:
    """`rows`: from top to bottom, each from left to right. An edge has a bend in each row that it passes,
    unless there are too many.

    `chains`: per edge its source, its bends, and its target.
    """

    rows: Sequence[Sequence[str]]
    chains: Mapping[Pair, Sequence[str]]


def layers(vertices: Sequence[str], edges: Sequence[Pair]) -> Layers:
    """`vertices`: the first is START, the last is END. `edges`: without edges that lead back."""
    ranks = _ranks(vertices, edges)
    rows: list[list[str]] = [[] for _ in range(max(ranks.values()) + 1)]
    for vertex in vertices:
        rows[ranks[vertex]].append(vertex)
    chains: dict[Pair, Sequence[str]] = {}
    bent = _bent(edges, ranks)
    for source, target in edges:
        bends = []
        for rank in range(ranks[source] + 1, ranks[target]) if (source, target) in bent else ():
            # A name that no node can have.
            bends.append(f"{source} → {target} @{rank}")
            rows[rank].append(bends[-1])
        chains[source, target] = (source, *bends, target)
    return Layers(_ordered(rows, chains), chains)


def _bent(edges: Sequence[Pair], ranks: Mapping[str, int]) -> set[Pair]:
    """The edges that get bends, the shortest first."""
    bent: set[Pair] = set()
    left = _MOST_BENDS
    for source, target in sorted(edges, key=lambda edge: ranks[edge[1]] - ranks[edge[0]]):
        left -= max(0, ranks[target] - ranks[source] - 1)
        if left < 0:
            break
        bent.add((source, target))
    return bent


def _ranks(vertices: Sequence[str], edges: Sequence[Pair]) -> dict[str, int]:
    """The length of the longest path to each node."""
    predecessors: dict[str, list[str]] = {vertex: [] for vertex in vertices}
    for source, target in edges:
        predecessors[target].append(source)
    try:
        order = list(TopologicalSorter(predecessors).static_order())
    except CycleError:  # such documents are refused, but drawing must not fail
        return {vertex: rank for rank, vertex in enumerate(vertices)}
    ranks: dict[str, int] = {}
    for vertex in order:
        ranks[vertex] = max((ranks[source] + 1 for source in predecessors[vertex]), default=0)
    # END is the lowest, even if it follows only a short branch.
    lowest = max(ranks.values())
    ranks[vertices[-1]] = lowest if ranks[vertices[-1]] == lowest else lowest + 1
    return ranks


def _ordered(rows: list[list[str]], chains: Mapping[Pair, Sequence[str]]) -> list[list[str]]:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for chain in chains.values():
        for upper, lower in pairwise(chain):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    for _ in range(_SWEEPS):
        for rank in range(1, len(rows)):
            rows[rank] = _sorted(rows[rank], rows[rank - 1], above)
        for rank in range(len(rows) - 2, -1, -1):
            rows[rank] = _sorted(rows[rank], rows[rank + 1], below)
    return rows


def _sorted(row: Sequence[str], fixed: Sequence[str], neighbours: Mapping[str, Sequence[str]]) -> list[str]:
    positions = {name: i for i, name in enumerate(fixed)}
    own = {name: i for i, name in enumerate(row)}

    def middle(name: str) -> float:
        near = [positions[other] for other in neighbours.get(name, ()) if other in positions]
        return sum(near) / len(near) if near else own[name]

    return sorted(row, key=middle)
