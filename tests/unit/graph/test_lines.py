"""The straight lines of a workflow, each of which is one node of LangGraph's."""

from __future__ import annotations

import pytest

from flowyard.graph.compile import compile_workflow
from support.workflows import document, load, run

LINES = {
    "a b c": [("START", "a"), ("a", "b"), ("b", "c"), ("c", "END")],
    "a | b": [("START", "[a, b]"), ("[a, b]", "END")],
    "s | a | b | j e": [("START", "s"), ("s", "[a, b]"), ("[a, b]", "j"), ("j", "e"), ("e", "END")],
}
TURNS = """\
- {from: START, to: x}
- {from: x, to: y}
- {from: y, loop: {to: x, until: "y == 'ok'", max_iterations: 2, exit_to: z}}
- {from: z, to: END}
"""


async def lines_of(text: str) -> str:
    plan = compile_workflow(load(text)).plan
    nodes = [[node for node in plan.workflow.nodes if plan.lines[node] == line] for line in plan.workflow.nodes]
    assert (await run(text)).result.status == "succeeded"
    return " | ".join(" ".join(line) for line in nodes if line)


@pytest.mark.parametrize("lines", LINES)
async def test_a_line_ends_where_there_is_another_way_to_go_or_to_come(lines: str) -> None:
    edges = "\n".join(f"- {{from: {source}, to: {target}}}" for source, target in LINES[lines])
    assert await lines_of(document(lines.replace("|", ""), edges)) == lines


async def test_a_loop_may_lead_back_into_its_own_line() -> None:
    assert await lines_of(document("x y z", TURNS)) == "x y | z"
