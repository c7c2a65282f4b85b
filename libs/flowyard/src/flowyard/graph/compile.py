"""Workflow → LangGraph, once per digest.

A node with one fixed successor is an edge of LangGraph. Every other decision is made by the node itself, which knows
its own writes, and is handed to LangGraph as a Command.

Where branches of a fork meet, LangGraph would run the meeting node once per superstep in which a branch arrives. So the
branches are counted (`~tokens`): a meeting node that is triggered while another branch can still reach it waits, and
runs once when none can. This holds for branches of different lengths, for routes inside a branch, for failed nodes that
go elsewhere, and it can't get stuck: a branch that ends elsewhere is a branch that can't arrive any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph import graph as langgraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send

from flowyard.errors import StepError
from flowyard.graph.context import RunContext
from flowyard.graph.replies import reply_schema
from flowyard.graph.state import (
    RESULTS,
    TOKENS,
    VISITS,
    Reducer,
    State,
    Update,
    after_update,
    initial_state,
    reducers,
    state_schema,
)
from flowyard.graph.steps import failure_of, run_step
from flowyard.graph.ways import Onward, go_on, nested_loops
from flowyard.language.flow import Flow
from flowyard.language.workflow import END, START, Goto, Map, Next, Node, Workflow
from flowyard.runs.events import StepFailed, StepId

_ENTRY: Final = "~start"
_READ: Final = "__pregel_read"
"""LangGraph's own name for the function by which a task reads channels: an item of a map is handed its index alone."""

_Run = Callable[[Any, Any], Awaitable[Any]]


def _collector(target: str) -> str:
    return f"{target}~collect"


@dataclass(frozen=True)
class Plan:
    """What the nodes of one workflow need to know about the whole."""

    workflow: Workflow

    @cached_property
    def flow(self) -> Flow:
        return Flow(self.workflow.nodes, self.workflow.ways)

    @cached_property
    def merging(self) -> dict[str, Reducer]:
        return reducers(self.workflow)

    @cached_property
    def maps(self) -> dict[str, Map]:
        return dict(self.workflow.maps)

    @cached_property
    def inner_loops(self) -> dict[str, tuple[str, ...]]:
        return nested_loops(self.workflow, self.flow)

    @cached_property
    def meeting(self) -> dict[str, frozenset[str]]:
        """Per node where branches may meet: the places in the graph from which another branch may still arrive."""
        if not self.flow.forks:
            return {}
        sources: dict[str, set[str]] = {}
        for name in self.flow.names:
            for target in self.flow.forward[name]:
                sources.setdefault(target, set()).add(name)
        return {
            node: frozenset(self.place(n) for n in self.flow.names if n != node and node in self.flow.forward_from(n))
            for node, before in sources.items()
            if node != END and len(before) > 1
        }

    @cached_property
    def repeated(self) -> frozenset[str]:
        """The nodes that can run more than once."""
        return frozenset(
            n for n in self.workflow.nodes if any(n in self.flow.reached_from(t) for t in self.flow.after[n])
        )

    def place(self, node: str) -> str:
        """Where a branch that is at `node` stands in the graph: for a map, before its results are collected."""
        return _collector(node) if node in self.maps else node

    def fixed(self, node: str) -> bool:
        """Whether what comes after a node never depends on anything."""
        way = self.workflow.ways[node]
        found = self.workflow.nodes.get(node)
        jumps = found is not None and isinstance(found.on_error, Goto)
        return isinstance(way, Next) and len(way.to) == 1 and not jumps and not self.meeting

    def command(self, source: str, onward: Onward, update: Update, state: State) -> Any:
        """Hands LangGraph the node's writes and where the run goes on."""
        if self.meeting:
            left = (state.get(TOKENS) or {}).get(source, 0)
            arrived = {self.place(node): 1 for node in onward.to}
            update = {**update, TOKENS: {**arrived, source: arrived.get(source, 0) - left}}
        return Command(update={**update, **onward.update}, goto=self._targets(onward))

    def _targets(self, onward: Onward) -> list[Any]:
        if onward.items is None:
            return list(onward.to)
        target = onward.to[0]
        return [Send(target, {"index": i}) for i in range(onward.items)] or [_collector(target)]

    def start(self, inputs: dict[str, Any]) -> Update:
        """The state that a run begins with."""
        state = initial_state(self.workflow, inputs)
        if self.meeting:
            way = self.workflow.ways[START]
            ahead = [n for n in way.to if n != END] if isinstance(way, Next) else [_ENTRY]
            state[TOKENS] = dict.fromkeys(ahead, 1)
        return state


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

    def get(self, workflow: Workflow) -> Compiled:
        found = self.kept.pop(workflow.digest, None) or compile_workflow(workflow)
        self.kept[workflow.digest] = found
        if len(self.kept) > self.most:
            self.kept.popitem(last=False)
        return found


def compile_workflow(workflow: Workflow) -> Compiled:
    plan = Plan(workflow)
    builder = langgraph.StateGraph(state_schema(workflow), context_schema=RunContext)
    for name, node in workflow.nodes.items():
        if name in plan.maps:
            builder.add_node(name, _item_runner(node, plan))
            builder.add_node(_collector(name), _collecting(node, plan))
            builder.add_edge(name, _collector(name))
            _add_fixed(builder, plan, name, _collector(name))
        else:
            builder.add_node(name, _node_runner(node, plan))
            _add_fixed(builder, plan, name, name)
    _add_entry(builder, plan)
    return Compiled(workflow, plan, builder.compile())


def _add_entry(builder: Any, plan: Plan) -> None:
    way = plan.workflow.ways[START]
    if isinstance(way, Next):
        for target in way.to:
            builder.add_edge(langgraph.START, langgraph.END if target == END else target)
        return

    async def enter(state: State, runtime: Runtime[RunContext]) -> Any:
        onward = go_on(START, way, state, plan.inner_loops)
        for event in onward.events:
            runtime.context.emit(event)
        return plan.command(_ENTRY, onward, {}, state)

    builder.add_node(_ENTRY, enter)
    builder.add_edge(langgraph.START, _ENTRY)


def _add_fixed(builder: Any, plan: Plan, node: str, place: str) -> None:
    way = plan.workflow.ways[node]
    if plan.fixed(node) and isinstance(way, Next):
        builder.add_edge(place, langgraph.END if way.to[0] == END else way.to[0])


def _node_runner(node: Node, plan: Plan) -> _Run:
    schema = reply_schema(node)
    fixed = plan.fixed(node.id)
    repeated = node.id in plan.repeated
    others = plan.meeting.get(node.id)

    async def run(state: State, runtime: Runtime[RunContext]) -> Any:
        if others and any(place in others for place in state.get(TOKENS) or ()):
            return Command(goto=[node.id])
        context = runtime.context
        visit = (state.get(VISITS) or {}).get(node.id, 0) + 1 if repeated else 1
        step = StepId(node.id, visit)
        started = context.clock()
        goto = None
        try:
            update: Update = dict(await run_step(node, schema, state, step, context))
        except StepError as error:
            goto, update = _handle(node, step, error, context, started), {}
        if repeated:
            update[VISITS] = {node.id: visit}
        if fixed:
            return update
        onward = Onward((goto,)) if goto else _onward(plan, node.id, state, update, context)
        return plan.command(node.id, onward, update, state)

    return run


def _handle(node: Node, step: StepId, error: StepError, context: RunContext, started: float) -> str | None:
    """Reports a failed step. The node to jump to, None to go on past the step; otherwise the run fails."""
    duration = context.clock() - started
    failure = failure_of(error, node.id)
    match node.on_error:
        case Goto(target):
            context.emit(StepFailed(step, duration, failure, "goto"))
            return target
        case "continue":
            context.emit(StepFailed(step, duration, failure, "continue"))
            return None
        case _:
            context.emit(StepFailed(step, duration, failure, "fail"))
            raise NodeFailed(node.id, error) from error


class NodeFailed(Exception):
    """Carries a step's error, and whose it is, out of LangGraph."""

    def __init__(self, node: str, error: StepError) -> None:
        super().__init__(str(error))
        self.node = node
        self.error = error


def _onward(plan: Plan, node: str, state: State, update: Update, context: RunContext) -> Onward:
    seen = after_update(state, update, plan.merging)
    try:
        onward = go_on(node, plan.workflow.ways[node], seen, plan.inner_loops)
    except StepError as error:
        raise NodeFailed(node, error) from error
    for event in onward.events:
        context.emit(event)
    return onward


def _item_runner(node: Node, plan: Plan) -> _Run:
    """Runs a map's node for one item: it is handed the index, and reads the item itself from the state."""
    schema = reply_schema(node)
    way = plan.maps[node.id]
    names = [*plan.workflow.fields, VISITS]

    async def run(task: dict[str, int], config: RunnableConfig, runtime: Runtime[RunContext]) -> Update:
        context, index = runtime.context, task["index"]
        state: State = config["configurable"][_READ](names, False)
        visit = (state.get(VISITS) or {}).get(node.id, 0) + 1
        values = {**state, way.item: state[way.items_field][index]}
        step = StepId(node.id, visit, index)
        if way.max_concurrency is None:
            result = await _item(node, way, values, step, context, schema)
        else:
            async with context.limit(node.id, way.max_concurrency):
                result = await _item(node, way, values, step, context, schema)
        return {RESULTS: {node.id: {str(index): result}}}

    return run


async def _item(node: Node, way: Map, values: State, step: StepId, context: RunContext, schema: Any) -> list[Any]:
    """`[result]`, or `[]` for an item that failed and is skipped."""
    started = context.clock()
    try:
        outputs = await run_step(node, schema, values, step, context)
    except StepError as error:
        duration = context.clock() - started
        failure = failure_of(error, node.id)
        context.emit(StepFailed(step, duration, failure, way.on_item_error))
        if way.on_item_error == "fail":
            raise NodeFailed(node.id, error) from error
        return [] if way.on_item_error == "skip" else [{"error": failure.code, "message": failure.message}]
    return [next(iter(outputs.values()))] if len(node.outputs) == 1 else [outputs]


def _collecting(node: Node, plan: Plan) -> _Run:
    """Puts the results of a map into their field, in the order of the items, and goes on."""
    way = plan.maps[node.id]
    fixed = plan.fixed(node.id)
    place = _collector(node.id)

    async def run(state: State, runtime: Runtime[RunContext]) -> Any:
        results = (state.get(RESULTS) or {}).get(node.id, {})
        collected = [value for i in sorted(results, key=int) for value in results[i]]
        visit = (state.get(VISITS) or {}).get(node.id, 0) + 1
        update: Update = {way.collect_field: collected, RESULTS: {node.id: {}}, VISITS: {node.id: visit}}
        if fixed:
            return update
        return plan.command(place, _onward(plan, node.id, state, update, runtime.context), update, state)

    return run
