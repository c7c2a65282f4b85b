"""Where everything is drawn, in pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from flowyard.language.nodes import Node
from flowyard.language.workflow import END, START, Workflow
from flowyard_dashboard.graph.edges import Edge, Kind, edges, places
from flowyard_dashboard.graph.layers import Layers, layers

WIDTH: Final = 150
HEIGHT: Final = 46
DOT: Final = 12
"""The radius of START, END and joins."""
_GAP: Final = 22
_ROOM: Final = 44
"""Between two rows."""
_LABEL_ROOM: Final = 18
_BEND: Final = 14
_MARGIN: Final = 14
_LETTER: Final = 6.0
"""The width of one, on average, in a label."""
_LONGEST_LABEL: Final = 24
_PASSES: Final = 8

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A place. `x` and `y` are its middle. `is_node`: it has work to do; else it is a dot."""

    name: str
    label: str
    note: str
    x: float
    y: float
    is_node: bool


@dataclass(frozen=True, slots=True)
class Line:
    """An edge. `path`: as SVG has it. `label` is short; `title` is all of it."""

    source: str
    target: str
    kind: Kind
    path: str
    label: str
    title: str
    label_x: float
    label_y: float
    label_anchor: str


@dataclass(frozen=True, slots=True)
class Drawing:
    width: float
    height: float
    boxes: Sequence[Box]
    lines: Sequence[Line]


def draw(workflow: Workflow) -> Drawing:
    found = edges(workflow)
    ahead = [edge for edge in found if edge.kind != "back" and edge.source != edge.target]
    rows = layers(places(workflow), list(dict.fromkeys((e.source, e.target) for e in ahead)))
    ys = _ys(rows, ahead)
    xs = _xs(rows)
    at = {name: (xs[name], ys[rank]) for rank, row in enumerate(rows.rows) for name in row}
    reach = {edge.target: len(_short(edge.label)) * _LETTER / 2 for edge in ahead if edge.label}
    left = min(x - max(_half(name, workflow), reach.get(name, 0)) for name, (x, _) in at.items()) - _MARGIN
    at = {name: (x - left, y) for name, (x, y) in at.items()}
    right = max(x + _half(name, workflow) for name, (x, _) in at.items())
    crowded = {target for target, n in Counter(e.target for e in ahead if e.label).items() if n > 1}
    lines = [_line(edge, rows, at, workflow, crowded=edge.target in crowded) for edge in ahead]
    back = [edge for edge in found if edge.kind == "back"]
    lines += [_line_back(edge, at, right + _MARGIN * (i + 1), workflow) for i, edge in enumerate(back)]
    boxes = [_box(name, at[name], workflow) for name in places(workflow)]
    extents = [right, *(_right_of(line) for line in lines), *(right + _MARGIN * (i + 1) for i in range(len(back)))]
    return Drawing(round(max(extents)) + _MARGIN, round(ys[-1]) + DOT + _MARGIN, boxes, lines)


def _ys(rows: Layers, found: Sequence[Edge]) -> list[float]:
    """The middle of each row. Rows that edges with a label lead to keep more distance."""
    labelled = {edge.target for edge in found if edge.label}
    ys = [_MARGIN + float(DOT)]
    for upper, lower in pairwise(rows.rows):
        more = _LABEL_ROOM if labelled & set(lower) else 0
        ys.append(ys[-1] + (_depth(upper) + _depth(lower)) / 2 + _ROOM + more)
    return ys


def _depth(row: Sequence[str]) -> float:
    return 2 * DOT if set(row) <= {START, END} else HEIGHT


def _xs(rows: Layers) -> dict[str, float]:
    """Each near the middle of those it is connected with, and none on another."""
    near: dict[str, list[str]] = {}
    for chain in rows.chains.values():
        for upper, lower in pairwise(chain):
            near.setdefault(lower, []).append(upper)
            near.setdefault(upper, []).append(lower)
    xs: dict[str, float] = {}
    for row in rows.rows:
        xs |= _spread(row, dict.fromkeys(row, 0.0))
    for turn in range(_PASSES):
        for row in rows.rows if turn % 2 else reversed(rows.rows):
            wanted = {name: _mean([xs[other] for other in near.get(name, (name,))]) for name in row}
            xs |= _spread(row, wanted)
    return xs


def _spread(row: Sequence[str], wanted: Mapping[str, float]) -> dict[str, float]:
    """As wanted where there is room; else side by side, with the least displacement of all together."""
    xs: list[float] = []
    for i, name in enumerate(row):
        least = xs[-1] + _distance(row[i - 1], name) if xs else wanted[name]
        xs.append(max(wanted[name], least))
    moved = _mean([x - wanted[name] for x, name in zip(xs, row, strict=True)])
    return {name: x - moved for x, name in zip(xs, row, strict=True)}


def _distance(one: str, other: str) -> float:
    return (_room(one) + _room(other)) / 2 + _GAP


def _room(name: str) -> float:
    return _BEND if " → " in name else 2 * DOT if name in (START, END) else WIDTH


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _half(name: str, workflow: Workflow) -> float:
    return WIDTH / 2 if name in workflow.nodes else DOT


def _tall(name: str, workflow: Workflow) -> float:
    return HEIGHT / 2 if name in workflow.nodes else DOT


def _box(name: str, at: Point, workflow: Workflow) -> Box:
    node = workflow.nodes.get(name)
    label = (node.name or node.id) if node is not None else {START: "start", END: "end"}.get(name, "join")
    return Box(name, label, _work(node) if node is not None else "", *at, node is not None)


def _work(node: Node) -> str:
    return node.models[0].model if node.models else node.kind


def _line(edge: Edge, rows: Layers, at: Mapping[str, Point], workflow: Workflow, *, crowded: bool) -> Line:
    """`crowded`: other edges with a label lead there too, so this one has its label where it begins."""
    points = [at[name] for name in rows.chains[edge.source, edge.target]]
    points[0] = points[0][0], points[0][1] + _tall(edge.source, workflow)
    points[-1] = points[-1][0], points[-1][1] - _tall(edge.target, workflow) - 1
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (y + to_y) / 2
        path += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
    label_at = (points[0][0], points[0][1] + 20) if crowded else (points[-1][0], points[-1][1] - 16)
    return _named(edge, path, label_at, "middle")


def _line_back(edge: Edge, at: Mapping[str, Point], right: float, workflow: Workflow) -> Line:
    """Around everything, as far to the right as `right`."""
    (x, y), (to_x, to_y) = at[edge.source], at[edge.target]
    x += _half(edge.source, workflow)
    to_x += _half(edge.target, workflow) + 1
    y, to_y = y + 8, to_y - 8
    pull = (right - (x + to_x) / 8) * 4 / 3
    path = f"M{x:.1f} {y:.1f}C{pull:.1f} {y:.1f} {pull:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    return _named(edge, path, (right + 5, (y + to_y) / 2 + 4), "start")


def _named(edge: Edge, path: str, label_at: Point, anchor: str) -> Line:
    x, y = label_at
    return Line(
        edge.source, edge.target, edge.kind, path, _short(edge.label), edge.label, round(x, 1), round(y, 1), anchor
    )


def _right_of(line: Line) -> float:
    width = len(line.label) * _LETTER
    return line.label_x + (width if line.label_anchor == "start" else width / 2)


def _short(label: str) -> str:
    flat = " ".join(label.split())
    # Conditions at one place often begin alike: how they end tells them apart.
    return flat if len(flat) <= _LONGEST_LABEL else f"…{flat[1 - _LONGEST_LABEL :]}"
