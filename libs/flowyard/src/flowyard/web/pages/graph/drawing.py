"""Computes the positions of nodes and edges, in pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Final, TypeAlias

from flowyard.language.workflow import END, START, Workflow
from flowyard.web.pages.columns import columns_of, cut_columns_before
from flowyard.web.pages.graph.edges import Edge, EdgeKind, edges, vertices
from flowyard.web.pages.graph.layers import Layers, layers

WIDTH: Final = 150
HEIGHT: Final = 46
DOT: Final = 12
"""The radius of START, END and joins."""
_GAP: Final = 22
_ROW_GAP: Final = 44
"""The distance between two rows."""
_LABEL_HEIGHT: Final = 18
_BEND: Final = 14
_MARGIN: Final = 14
_LETTER_WIDTH: Final = 6.0
"""The average width of a letter in a label."""
_MOST_COLUMNS: Final = 24
"""Of a label."""
_PASSES: Final = 8

XY: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class NodeBox:
    """A node; START, END or a join if not `is_node`, which is drawn as a dot. `x`, `y`: its center."""

    name: str
    label: str
    note: str
    x: float
    y: float
    is_node: bool


@dataclass(frozen=True, slots=True)
class EdgeLine:
    """An edge. `path`: of SVG. `label`: a short form of `title`."""

    source: str
    target: str
    kind: EdgeKind
    path: str
    label: str
    title: str
    label_x: float
    label_y: float
    label_anchor: str


@dataclass(frozen=True, slots=True)
class GraphDrawing:
    width: float
    height: float
    boxes: Sequence[NodeBox]
    lines: Sequence[EdgeLine]


def draw(workflow: Workflow) -> GraphDrawing:
    """The drawing of a workflow's graph, from START at the top to END at the bottom."""
    all_edges = edges(workflow)
    forward_edges = [edge for edge in all_edges if edge.kind != "back" and edge.source != edge.target]
    rows = layers(vertices(workflow), list(dict.fromkeys((e.source, e.target) for e in forward_edges)))
    ys = _ys(rows, forward_edges)
    xs = _xs(rows)
    at = {name: (xs[name], ys[rank]) for rank, row in enumerate(rows.rows) for name in row}
    reach = {edge.target: columns_of(_short(edge.label)) * _LETTER_WIDTH / 2 for edge in forward_edges if edge.label}
    left = min(x - max(_half_width(name, workflow), reach.get(name, 0)) for name, (x, _) in at.items()) - _MARGIN
    at = {name: (x - left, y) for name, (x, y) in at.items()}
    right = max(x + _half_width(name, workflow) for name, (x, _) in at.items())
    crowded = {target for target, n in Counter(e.target for e in forward_edges if e.label).items() if n > 1}
    lines = [_line(edge, rows, at, workflow, is_crowded=edge.target in crowded) for edge in forward_edges]
    back = [edge for edge in all_edges if edge.kind == "back"]
    lines += [_line_back(edge, at, right + _MARGIN * (i + 1), workflow) for i, edge in enumerate(back)]
    boxes = [_box(name, at[name], workflow) for name in vertices(workflow)]
    extents = [right, *(_right_of(line) for line in lines), *(right + _MARGIN * (i + 1) for i in range(len(back)))]
    return GraphDrawing(round(max(extents)) + _MARGIN, round(ys[-1]) + DOT + _MARGIN, boxes, lines)


def _ys(rows: Layers, all_edges: Sequence[Edge]) -> list[float]:
    """The center of each row. There is more space above rows to which labelled edges lead."""
    labelled = {edge.target for edge in all_edges if edge.label}
    ys = [_MARGIN + float(DOT)]
    for upper, lower in pairwise(rows.rows):
        extra = _LABEL_HEIGHT if labelled & set(lower) else 0
        ys.append(ys[-1] + (_row_height(upper) + _row_height(lower)) / 2 + _ROW_GAP + extra)
    return ys


def _row_height(row: Sequence[str]) -> float:
    return 2 * DOT if set(row) <= {START, END} else HEIGHT


def _xs(rows: Layers) -> dict[str, float]:
    """The center of each node: near the center of the nodes it is connected with, without overlaps."""
    near: dict[str, list[str]] = {}
    for chain in rows.chains.values():
        for upper, lower in pairwise(chain):
            near.setdefault(lower, []).append(upper)
            near.setdefault(upper, []).append(lower)
    xs: dict[str, float] = {}
    for row in rows.rows:
        xs |= _spread(row, dict.fromkeys(row, 0.0))
    for sweep in range(_PASSES):
        for row in rows.rows if sweep % 2 else reversed(rows.rows):
            targets = {name: fmean([xs[other] for other in near.get(name, (name,))]) for name in row}
            xs |= _spread(row, targets)
    return xs


def _spread(row: Sequence[str], targets: Mapping[str, float]) -> dict[str, float]:
    """The targets, moved apart where they overlap, with the smallest displacement in total."""
    xs: list[float] = []
    for i, name in enumerate(row):
        minimum = xs[-1] + (_width(row[i - 1]) + _width(name)) / 2 + _GAP if xs else targets[name]
        xs.append(max(targets[name], minimum))
    shift = fmean([x - targets[name] for x, name in zip(xs, row, strict=True)])
    return {name: x - shift for x, name in zip(xs, row, strict=True)}


def _width(name: str) -> float:
    return _BEND if " → " in name else 2 * DOT if name in (START, END) else WIDTH


def _half_width(name: str, workflow: Workflow) -> float:
    return WIDTH / 2 if name in workflow.nodes else DOT


def _half_height(name: str, workflow: Workflow) -> float:
    return HEIGHT / 2 if name in workflow.nodes else DOT


def _box(name: str, at: XY, workflow: Workflow) -> NodeBox:
    node = workflow.nodes.get(name)
    if node is None:
        return NodeBox(name, {START: "start", END: "end"}.get(name, "join"), "", *at, is_node=False)
    note = node.models[0].model if node.models else node.kind
    return NodeBox(name, node.name or node.id, note, *at, is_node=True)


def _line(edge: Edge, rows: Layers, at: Mapping[str, XY], workflow: Workflow, *, is_crowded: bool) -> EdgeLine:
    """`is_crowded`: other labelled edges lead to the same node, so the label is at the beginning of the edge."""
    points = [at[name] for name in rows.chains[edge.source, edge.target]]
    points[0] = points[0][0], points[0][1] + _half_height(edge.source, workflow)
    points[-1] = points[-1][0], points[-1][1] - _half_height(edge.target, workflow) - 1
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (y + to_y) / 2
        path += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
    label_at = (points[0][0], points[0][1] + 20) if is_crowded else (points[-1][0], points[-1][1] - 16)
    return _labelled(edge, path, label_at, "middle")


def _line_back(edge: Edge, at: Mapping[str, XY], right: float, workflow: Workflow) -> EdgeLine:
    """An edge that leads back, around the other nodes, at `right`."""
    (x, y), (to_x, to_y) = at[edge.source], at[edge.target]
    x += _half_width(edge.source, workflow)
    to_x += _half_width(edge.target, workflow) + 1
    y, to_y = y + 8, to_y - 8
    control_x = (right - (x + to_x) / 8) * 4 / 3
    path = f"M{x:.1f} {y:.1f}C{control_x:.1f} {y:.1f} {control_x:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    return _labelled(edge, path, (right + 5, (y + to_y) / 2 + 4), "start")


def _labelled(edge: Edge, path: str, label_at: XY, anchor: str) -> EdgeLine:
    x, y = label_at
    return EdgeLine(
        edge.source, edge.target, edge.kind, path, _short(edge.label), edge.label, round(x, 1), round(y, 1), anchor
    )


def _right_of(line: EdgeLine) -> float:
    width = columns_of(line.label) * _LETTER_WIDTH
    return line.label_x + (width if line.label_anchor == "start" else width / 2)


def _short(label: str) -> str:
    flat = " ".join(label.split())
    # The end of the label: the conditions at one node often begin with the same text.
    return cut_columns_before(flat, _MOST_COLUMNS)
