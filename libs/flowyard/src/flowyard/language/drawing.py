"""A workflow as a Mermaid flowchart, and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from flowyard.language.nodes import Goto
from flowyard.language.workflow import END, START, Loop, Map, Next, Routes, Transition, Workflow


@dataclass(frozen=True, slots=True)
class Arrow:
    """One line of the drawing. `back`: it leads to an earlier node."""

    source: str
    target: str
    label: str = ""
    back: bool = False


def arrows(workflow: Workflow) -> Iterator[Arrow]:
    """Every transition that a run can take, from START on, grouped by source."""
    order = [START, *workflow.nodes, *workflow.joins]
    for source in order:
        if source in workflow.transitions:
            yield from _arrows_of(source, workflow.transitions[source])
        node = workflow.nodes.get(source)
        if node is not None and isinstance(node.on_error, Goto):
            yield Arrow(source, node.on_error.node, "on error")


def _arrows_of(source: str, transition: Transition) -> Iterator[Arrow]:
    match transition:
        case Next(to):
            yield from (Arrow(source, target) for target in to)
        case Routes(routes, default):
            yield from (Arrow(source, route.to, f"if {route.condition.text.strip()}") for route in routes)
            yield Arrow(source, default, "else")
        case Loop() as loop:
            yield Arrow(source, loop.to, f"loop, at most {loop.max_iterations} times", back=True)
            yield Arrow(source, loop.exit_to, f"until {loop.until.text.strip()}")
        case Map() as map_:
            yield Arrow(source, map_.target, f"for each {map_.item} of {map_.items_field}, into {map_.collect_field}")
        case _:
            assert_never(transition)


def mermaid(workflow: Workflow) -> str:
    lines = ["flowchart TD", f"    {START}([START])"]
    lines += [f'    {_id(node)}["{_escaped(node)}"]' for node in workflow.nodes]
    lines += [f"    {_id(join)}((+))" for join in workflow.joins]
    lines.append(f"    {END}_([END])")
    for arrow in arrows(workflow):
        line = "-.->" if arrow.back else "-->"
        label = f'|"{_escaped(arrow.label)}"|' if arrow.label else ""
        lines.append(f"    {_id(arrow.source)} {line}{label} {_id(arrow.target)}")
    return "\n".join(lines)


def _id(node: str) -> str:
    """A name that isn't a keyword of Mermaid: a node `end` would break the chart."""
    return node if node == START else f"{node.replace('+', '_and_')}_"


def _escaped(text: str) -> str:
    escaped = " ".join(text.split())
    for char, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("|", "#124;")):
        escaped = escaped.replace(char, entity)
    return escaped


def ascii_drawing(workflow: Workflow) -> str:
    """A line per transition, grouped by source: readable in any terminal, and in diffs."""
    drawn = list(arrows(workflow))
    width = max(len(arrow.source) for arrow in drawn)
    lines = [workflow.name, ""]
    last = ""
    for arrow in drawn:
        source = arrow.source if arrow.source != last else ""
        label = f"   [{' '.join(arrow.label.split())}]" if arrow.label else ""
        lines.append(f"  {source:<{width}} --> {arrow.target}{label}")
        last = arrow.source
    return "\n".join(lines)
