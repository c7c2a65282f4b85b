"""Places in layers, and in an order within each that crosses few edges (after Sugiyama, Tagawa and Toda, 1981)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Final, TypeAlias

Pair: TypeAlias = tuple[str, str]
_SWEEPS: Final = 4


@dataclass(frozen=True, slots=True)
class Layers:
    """`rows`: from top to bottom, each from left to right. Where an edge passes a row, a bend stands in it.

    `chains`: per edge all that it touches, from its source over its bends to its target.
    """

    rows: Sequence[Sequence[str]]
    chains: Mapping[Pair, Sequence[str]]


def layers(places: Sequence[str], edges: Sequence[Pair]) -> Layers:
    """`edges`: without those that lead back."""
    ranks = _ranks(places, edges)
    rows: list[list[str]] = [[] for _ in range(max(ranks.values()) + 1)]
    for place in places:
        rows[ranks[place]].append(place)
    chains: dict[Pair, Sequence[str]] = {}
    for source, target in edges:
        bends = []
        for rank in range(ranks[source] + 1, ranks[target]):
            # No name of a place has a space and an arrow.
            bends.append(f"{source} → {target} @{rank}")
            rows[rank].append(bends[-1])
        chains[source, target] = (source, *bends, target)
    return Layers(_ordered(rows, chains), chains)


def _ranks(places: Sequence[str], edges: Sequence[Pair]) -> dict[str, int]:
    """The length of the longest way to each place."""
    before: dict[str, list[str]] = {place: [] for place in places}
    for source, target in edges:
        before[target].append(source)
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError:  # refused when documents are checked; a picture needn't fail for it
        return {place: rank for rank, place in enumerate(places)}
    ranks: dict[str, int] = {}
    for place in order:
        ranks[place] = max((ranks[source] + 1 for source in before[place]), default=0)
    # The end is at the bottom even if a branch that ends early comes last.
    ranks[places[-1]] = max(ranks.values()) + (0 if ranks[places[-1]] == max(ranks.values()) else 1)
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
    places = {name: i for i, name in enumerate(fixed)}
    own = {name: i for i, name in enumerate(row)}

    def middle(name: str) -> float:
        found = [places[other] for other in neighbours.get(name, ()) if other in places]
        return sum(found) / len(found) if found else own[name]

    return sorted(row, key=middle)
