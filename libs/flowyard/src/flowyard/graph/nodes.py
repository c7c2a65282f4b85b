"""What LangGraph runs in each place of the graph: a node, an item of a map, the end of a map, a choice without work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Command

from flowyard.errors import FlowyardError
from flowyard.graph.context import RunContext
from flowyard.graph.plan import Plan, collector
from flowyard.graph.state import RESULTS, TOKENS, VISITS, State, Update, after_update
from flowyard.graph.steps import Work, failure_of, names_read, run_step, work_of
from flowyard.graph.ways import Onward, go_on
from flowyard.language.workflow import Goto, Map, Next, Node
from flowyard.runs.events import StepFailed, StepId

_READ: Final = "__pregel_read"
"""LangGraph's own name for the function by which a task reads channels: an item of a map is handed that item alone."""

# LangGraph looks at the parameters: a function takes the state, and the runtime or the config if it names them.
Runner: TypeAlias = Callable[..., Awaitable[Any]]


class NodeFailed(Exception):
    """Carries a step's error, and whose it is, out of LangGraph."""

    def __init__(self, node: str, error: FlowyardError) -> None:
        super().__init__(str(error))
        self.node = node
        self.error = error


def node_runner(node: Node, plan: Plan) -> Runner:
    work = work_of(node)
    fixed = plan.fixed(node.id) is not None
    repeated = node.id in plan.repeated
    others = plan.meeting.get(node.id)
    once = StepId(node.id, 1)

    async def run(state: State, runtime: Runtime[RunContext]) -> Any:
        if _must_wait(others, state):
            return Command(goto=[node.id])
        context = runtime.context
        step = StepId(node.id, _visits(state, node.id) + 1) if repeated else once
        started = context.clock()
        goto = None
        try:
            update: Update = await run_step(work, state, step, context)
            context.written.add(update)
        except FlowyardError as error:
            goto, update = _handle(node, step, error, context.clock() - started, context=context), {}
        if repeated:
            update = {**update, VISITS: {node.id: step.visit}}
        if fixed:
            return update
        onward = Onward((goto,)) if goto else _onward(plan, node.id, state, update, context=context)
        return plan.command(node.id, onward, update, state)

    return run


def _visits(state: State, node: str) -> int:
    return int((state.get(VISITS) or {}).get(node, 0))


def _handle(node: Node, step: StepId, error: FlowyardError, duration: float, *, context: RunContext) -> str | None:
    """Reports a failed step. The node to jump to, None to go on past the step; otherwise the run fails."""
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


def _onward(plan: Plan, node: str, state: State, update: Update, *, context: RunContext) -> Onward:
    way = plan.workflow.ways[node]
    seen = state if isinstance(way, Next) else after_update(state, update, plan.merging)
    try:
        onward = go_on(node, way, seen, plan.inner_loops)
    except FlowyardError as error:
        raise NodeFailed(node, error) from error
    for event in onward.events:
        context.emit(event)
    return onward


def passage(place: str, source: str, plan: Plan) -> Runner:
    """A place without work from which a run goes on by the way of `source`: a START that chooses, a join that does."""
    others = plan.meeting.get(place)

    async def run(state: State, runtime: Runtime[RunContext]) -> Any:
        if _must_wait(others, state):
            return Command(goto=[place])
        return plan.command(place, _onward(plan, source, state, {}, context=runtime.context), {}, state)

    return run


def _must_wait(others: frozenset[str] | None, state: State) -> bool:
    """Whether another branch may still arrive."""
    return others is not None and any(place in others for place in state.get(TOKENS) or ())


def item_runner(node: Node, plan: Plan) -> Runner:
    """Runs a map's node for the item that it is handed; the fields that its templates name are read from the state."""
    work = work_of(node)
    way = plan.maps[node.id]
    names = [*(plan.workflow.fields.keys() & names_read(node)), VISITS]

    async def run(task: dict[str, Any], config: RunnableConfig, runtime: Runtime[RunContext]) -> Update:
        context, index = runtime.context, task["index"]
        state: State = config["configurable"][_READ](names)
        step = StepId(node.id, _visits(state, node.id) + 1, index)
        values = {**state, way.item: task["item"]}
        async with context.limit(node.id, way.max_concurrency):
            if context.failed is not None:
                # Another item has failed the run: until LangGraph has cancelled the rest, none may cost anything.
                raise context.failed
            result = await _item(work, way, values, step=step, context=context)
        # In a list, because the channel takes a list as several writes.
        return {RESULTS: [[node.id, index, result]]}

    return run


async def _item(work: Work, way: Map, values: State, *, step: StepId, context: RunContext) -> list[Any]:
    """`[result]`, or `[]` for an item that failed and is skipped."""
    started = context.clock()
    try:
        outputs = await run_step(work, values, step, context)
    except FlowyardError as error:
        failure = failure_of(error, step.node)
        context.emit(StepFailed(step, context.clock() - started, failure, way.on_item_error))
        if way.on_item_error == "fail":
            context.failed = NodeFailed(step.node, error)
            raise context.failed from error
        return [] if way.on_item_error == "skip" else [{"error": failure.code, "message": failure.message}]
    return [next(iter(outputs.values()))] if len(outputs) == 1 else [outputs]


def collecting(node: Node, plan: Plan) -> Runner:
    """Puts the results of a map into their field, in the order of the items, and goes on."""
    way = plan.maps[node.id]
    fixed = plan.fixed(node.id) is not None
    place = collector(node.id)

    async def run(state: State, runtime: Runtime[RunContext]) -> Any:
        results = sorted(r[1:] for r in state.get(RESULTS) or () if r[0] == node.id)
        collected = {way.collect_field: [value for _, result in results for value in result]}
        runtime.context.written.add(collected)
        update: Update = {**collected, VISITS: {node.id: _visits(state, node.id) + 1}}
        if fixed:
            return update
        onward = _onward(plan, node.id, state, update, context=runtime.context)
        return plan.command(place, onward, update, state)

    return run
