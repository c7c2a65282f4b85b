"""Flows that are hard to draw: a page of the dashboard is drawn in time in proportion to its edges."""

from __future__ import annotations

from flowyard.language.load import load_text
from flowyard.web.pages.graph.drawing import draw
from support.campaigns import Campaigns
from support.holding import held_s

HEAD = "flow: {name: large}\nstate: {fields: {p: {type: list, reduce: append}, ok: {type: bool, default: false}}}\n"


def flow(edges: list[str], count: int) -> str:
    nodes = "".join(f"  - {{id: n{i}, set: {{p: a}}}}\n" for i in range(count))
    ends = f"  - {{from: START, to: n0}}\n  - {{from: n{count - 1}, to: END}}\n"
    return f"{HEAD}nodes:\n{nodes}edges:\n{ends}{''.join(edges)}"


def test_edges_across_many_rows_are_drawn_quickly(campaign: Campaigns) -> None:
    """Each node also leads to END, and to the 28 nodes after it."""
    leaving = [f"  - {{from: n{i}, routes: [{{if: ok, to: n{i + 1}}}, {{default: END}}]}}\n" for i in range(599)]
    dense = [
        f"  - {{from: n{i}, to: [{', '.join(f'n{j}' for j in range(i + 1, min(i + 29, 400)))}]}}\n" for i in range(399)
    ]
    for what, text in (("edges to END", flow(leaving, 600)), ("dense edges", flow(dense, 400))):
        workflow = load_text(text, "d.yaml").workflow
        assert workflow is not None
        with campaign("drawings of large flows").attempt(what):
            drawing = draw(workflow)
            assert len(drawing.lines) > 1000
            assert held_s(lambda workflow=workflow: draw(workflow), repeats=2) < 1  # type: ignore[misc]
