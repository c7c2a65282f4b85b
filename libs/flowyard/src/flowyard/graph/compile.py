"""Workflow → LangGraph, once per digest.

A node with one fixed successor is an edge of LangGraph. Every other decision is made by the node itself, which knows
its own writes, and is handed to LangGraph as a Command.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from langgraph import graph as langgraph
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from flowyard.graph.context import RunContext
from flowyard.graph.nodes import collecting, item_runner, node_runner, passage
from flowyard.graph.plan import ENTRY, Plan, collector
from flowyard.graph.state import state_schema
from flowyard.language.workflow import END, START, Next, Workflow


@dataclass(frozen=True)
class Compiled:
    """A workflow that can be run, any number of times at once."""

    workflow: Workflow
    plan: Plan
    graph: CompiledStateGraph[Any, RunContext, Any, Any]


class Graphs:
    """Compiled workflows by digest, the most recently used ones."""

    def __init__(self, most: int = 256, *, saver: BaseCheckpointSaver[int] | None = None) -> None:
        self.most = most
        self.saver = saver
        self.kept: OrderedDict[str, Compiled] = OrderedDict()

    def get(self, workflow: Workflow) -> Compiled:
        compiled = self.kept.pop(workflow.digest, None) or compile_workflow(workflow, self.saver)
        self.kept[workflow.digest] = compiled
        if len(self.kept) > self.most:
            self.kept.popitem(last=False)
        return compiled


def compile_workflow(workflow: Workflow, saver: BaseCheckpointSaver[int] | None = None) -> Compiled:
    """`saver` keeps checkpoints, unless the workflow says that its runs needn't be resumed."""
    plan = Plan(workflow)
    keeps = None if workflow.execution.durability == "exit" else saver
    # LangGraph's types want a state class that is known to the checker; ours is made per workflow.
    builder: Any = langgraph.StateGraph(state_schema(workflow, plan.bookkeeping), context_schema=RunContext)
    for name, node in workflow.nodes.items():
        if name in plan.maps:
            builder.add_node(name, item_runner(node, plan))
            builder.add_node(collector(name), collecting(node, plan))
            builder.add_edge(name, collector(name))
        else:
            builder.add_node(name, node_runner(node, plan))
        following = plan.fixed(name)
        if following is not None:
            builder.add_edge(plan.place(name), _in_graph(following))
    for join in workflow.joins:
        builder.add_node(join, passage(join, join, plan))
    _add_start(builder, plan)
    return Compiled(workflow, plan, builder.compile(checkpointer=keeps))


def _add_start(builder: Any, plan: Plan) -> None:
    transition = plan.workflow.transitions[START]
    if isinstance(transition, Next):
        for target in transition.to:
            builder.add_edge(langgraph.START, _in_graph(target))
    else:
        builder.add_node(ENTRY, passage(ENTRY, START, plan))
        builder.add_edge(langgraph.START, ENTRY)


def _in_graph(target: str) -> str:
    return langgraph.END if target == END else target
