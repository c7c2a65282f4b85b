"""Workflow → LangGraph, once per digest.

Each straight line of the workflow's places is a node of LangGraph's with a channel of the same name, and each place
decides itself where its branch continues: by the code that also replays recorded steps. A channel holds a branch that
has arrived at the line. It is LangGraph's Pregel itself that executes them: `StateGraph`, which builds on it, needs a
third more time per run and per move, for a state that isn't LangGraph's here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from langgraph.channels import EphemeralValue
from langgraph.pregel import NodeBuilder, Pregel

from flowyard.graph.context import Arrival
from flowyard.graph.nodes import Line, Place, choice_place, map_place, step_place
from flowyard.graph.plan import Plan
from flowyard.language.workflow import END, Workflow

_MANY: Final = 64
"""Nodes: a larger workflow is compiled in a thread, which takes a third of a second for a thousand."""


@dataclass(frozen=True)
class Compiled:
    """A workflow that can be run, any number of times at once."""

    workflow: Workflow
    plan: Plan
    graph: Pregel[Any, Any, Any, Any]


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
    graph: Pregel[Any, Any, Any, Any] = Pregel(
        nodes={name: _node(name, places, plan) for name, places in lines.items()},
        channels={name: _Arriving(Arrival) for name in lines},
        input_channels=list(lines),
        output_channels=[],
    )
    return Compiled(workflow, plan, graph)


class _Arriving(EphemeralValue[Arrival | None]):
    """A channel for which None is no value: a node of LangGraph's writes to all lines that may come next."""

    def update(self, values: Sequence[Arrival | None]) -> bool:
        return super().update([value for value in values if value is not None])


def _node(name: str, places: Mapping[str, Place], plan: Plan) -> NodeBuilder:
    targets = {target for place in places for target in plan.flow.successors[place]}
    after = {plan.lines[target] for target in targets if target != END and target not in places}
    node = NodeBuilder().subscribe_only(name).do(Line(places, plan, after))
    return node.write_to(**{line: partial(_arrival_at, line) for line in after})


def _arrival_at(line: str, arrival: Arrival | None) -> Arrival | None:
    return arrival if arrival is not None and arrival.line == line else None
