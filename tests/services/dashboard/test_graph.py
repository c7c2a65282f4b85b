from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from flowyard.language.load import load_text
from flowyard.language.workflow import END, START, Workflow
from flowyard.web.pages.columns import columns_of, cut_columns
from flowyard.web.pages.graph.drawing import HEIGHT, WIDTH, draw
from flowyard_dashboard.view import Rows, View, difference

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def workflow_of(path: Path) -> Workflow:
    workflow = load_text(path.read_text(), path.name).workflow
    assert workflow is not None
    return workflow


def named(stem: str) -> Workflow:
    return workflow_of(next(path for path in EXAMPLES if path.stem == stem))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_drawn_with_nothing_on_anything_else(path: Path) -> None:
    workflow = workflow_of(path)
    drawing = draw(workflow)
    assert {box.name for box in drawing.boxes} == {START, END, *workflow.nodes, *workflow.joins}
    for one, other in itertools.combinations([box for box in drawing.boxes if box.is_node], 2):
        assert abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width
        assert 0 <= box.y <= drawing.height


def test_who_comes_later_stands_lower() -> None:
    drawing = draw(named("triage"))
    y = {box.name: box.y for box in drawing.boxes}
    assert y[START] < y["sort"] < y["billing"] == y["technical"] == y["other"] < y[END]


def test_conditions_stand_at_their_edges() -> None:
    labels = {(line.source, line.target): line.title for line in draw(named("triage")).lines}
    assert labels["sort", "billing"] == "contains(lower(category), 'billing')"
    assert labels["sort", "other"] == "otherwise"
    loop = {(line.source, line.target): (line.kind, line.title) for line in draw(named("refine")).lines}
    assert loop["judge", "write"] == ("back", "again, at most 3 times")
    assert loop["judge", END] == ("forward", "score >= 8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Judge the answer!", "Judge the answer!"),
        ("Judge all the answers", "Judge all the an…"),
        ("回答を書いてから", "回答を書いてから"),
        ("回答を書いてから判定する", "回答を書いてから…"),
        ("🌧🌧🌧🌧🌧🌧🌧🌧🌧🌧", "🌧🌧🌧🌧🌧🌧🌧🌧…"),
        ("u\N{COMBINING DIAERESIS}" * 17, "u\N{COMBINING DIAERESIS}" * 17),
    ],
)
def test_a_name_is_cut_to_the_width_of_its_box(text: str, shown: str) -> None:
    assert cut_columns(text, 17) == shown


def test_a_wide_condition_fits_at_its_edge() -> None:
    document = """\
flow: {name: wide}
state: {fields: {kind: {type: str, required: true}}}
nodes: [{id: a, set: {kind: a}}, {id: b, set: {kind: b}}]
edges:
  - {from: START, routes: [{if: "kind == '質問が長いときはここに来てください'", to: a}, {default: b}]}
  - {from: [a, b], to: END}
"""
    workflow = load_text(document, "d.yaml").workflow
    assert workflow is not None
    drawing = draw(workflow)
    [label] = [line.label for line in drawing.lines if "来" in line.label]
    assert label == "…きはここに来てください'"
    assert columns_of(label) <= 24


def rows(*given: str, grows: Any = "above") -> View:
    return View(lists=[Rows("list", "tbody", grows, {f"r{row[0]}": f'<tr id="r{row[0]}">{row}</tr>' for row in given})])


@pytest.mark.parametrize(
    ("before", "now", "sent"),
    [
        (rows("1"), rows("1"), ""),
        (rows("1"), rows("1 new"), '<template><tr hx-swap-oob="true" id="r1">1 new</tr></template>'),
        (
            rows("2", "1"),
            rows("3", "2"),
            (
                '<template><tr id="r1" hx-swap-oob="delete"></tr></template>'
                '<template><tbody hx-swap-oob="afterbegin:#list"><tr id="r3">3</tr></tbody></template>'
            ),
        ),
        (
            rows("1", grows="below"),
            rows("1", "2", grows="below"),
            '<template><tbody hx-swap-oob="beforeend:#list"><tr id="r2">2</tr></tbody></template>',
        ),
        (
            rows("1", "2"),
            rows("2", "1"),
            '<template><tbody hx-swap-oob="innerHTML:#list"><tr id="r2">2</tr><tr id="r1">1</tr></tbody></template>',
        ),
    ],
)
def test_only_what_has_changed_is_sent(before: View, now: View, sent: str) -> None:
    assert difference(before, now) == sent
