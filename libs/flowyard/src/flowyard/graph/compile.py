"""Workflow → LangGraph, once per digest.

Each straight line of the workflow's places is a node of LangGraph's, and each place decides itself where its branch
continues: by the code that also replays recorded steps. The state of the run isn't in LangGraph's channels, which hold
only the place where one branch stands.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from langgraph import graph as langgraph
from langgraph.graph.state import CompiledStateGraph

from flowyard.graph.context import RunContext
from flowyard.graph.nodes import Place, choice_place, line_runner, map_place, step_place
from flowyard.graph.plan import Plan
from flowyard.language.workflow import Workflow

_MANY: Final = 64
"""Nodes: a larger workflow is compiled in a thread, which takes a third of a second for a thousand."""


class At(TypedDict):
    """Where a branch stands."""

    place: str
    visit: int


@dataclass(frozen=True)
class Compiled:
    """A workflow that can be run, any number of times at once."""

    workflow: Workflow
    plan: Plan
    graph: CompiledStateGraph[Any, RunContext, Any, Any]


class Graphs:
    """Compiled workflows by digest, the most recently used ones."""

    def __init__(self, most: int = 256) -> None:
        self.most = most
        self.kept: OrderedDict[str, Compiled] = OrderedDict()
        self._compiling = asyncio.Lock()

    async def get(self, workflow: Workflow) -> Compiled:
        if len(workflow.nodes) <= _MANY:
            return self._keep(self._kept(workflow) or compile_workflow(workflow))
        # One at a time: the runs of a workflow often begin together.
        async with self._compiling:
            kept = self._kept(workflow)
            return self._keep(kept if kept is not None else await asyncio.to_thread(compile_workflow, workflow))

    def _kept(self, workflow: Workflow) -> Compiled | None:
        return self.kept.get(workflow.digest)

    def _keep(self, compiled: Compiled) -> Compiled:
        self.kept[compiled.workflow.digest] = compiled
        self.kept.move_to_end(compiled.workflow.digest)
        if len(self.kept) > self.most:
            self.kept.popitem(last=False)
        return compiled


def compile_workflow(workflow: Workflow) -> Compiled:
    plan = Plan(workflow)
    lines: defaultdict[str, dict[str, Place]] = defaultdict(dict)
    for name, node in workflow.nodes.items():
        lines[plan.lines[name]][name] = (map_place if name in plan.maps else step_place)(node, plan)
    for place in plan.deciding:
        lines[plan.lines[place]][place] = choice_place
    builder: Any = langgraph.StateGraph(At, context_schema=RunContext)
    for name, places in lines.items():
        builder.add_node(name, line_runner(places, plan))

    async def line_of(at: At) -> str:
        """Where a branch begins. Not a plain function: LangGraph would call it in a thread."""
        return plan.lines[at["place"]]

    if len(lines) == 1:
        builder.add_edge(langgraph.START, *lines)
    else:
        builder.add_conditional_edges(langgraph.START, line_of, list(lines))
    return Compiled(workflow, plan, builder.compile())
