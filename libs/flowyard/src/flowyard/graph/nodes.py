"""What LangGraph runs in each place of the graph: a node, an item of a map, the end of a map, a choice without work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite

from flowyard.errors.base import FlowyardError
from flowyard.errors.runs import ClaimLost
from flowyard.errors.steps import BudgetExceeded
from flowyard.graph.context import RunContext
from flowyard.graph.plan import Plan, collector
from flowyard.graph.state import LOOPS, RESULTS, TOKENS, VISITS, State, Update, after_update
from flowyard.graph.ways import Onward, go_on, turns_of
from flowyard.language.nodes import Goto, Node
from flowyard.language.workflow import Map, Next
from flowyard.runs.events import Failure, StepFailed, StepId, StepStarted
from flowyard.steps.failures import failure_of
from flowyard.steps.step import Work, run_step, work_of

_READ: Final = "__pregel_read"
"""LangGraph's own name for the function by which a task reads channels: an item of a map is handed that item alone."""

_TASK: Final = "__pregel_task_id"

Handled: TypeAlias = Literal["fail", "continue", "goto", "skip", "collect"]

# LangGraph looks at the parameters: a function takes the state, and the runtime or the config if it names them.
Runner: TypeAlias = Callable[..., Awaitable[Any]]


class NodeFailed(Exception):
    """Carries a step's failure out of LangGraph."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def node_runner(node: Node, plan: Plan) -> Runner:
    work = work_of(node, plan.workflow.secrets)
    fixed = plan.fixed(node.id) is not None
    repeated = node.id in plan.repeated
    others = plan.meeting.get(node.id)
    once = StepId(node.id, 1)
    handled: Handled = "goto" if isinstance(node.on_error, Goto) else node.on_error

    async def run(state: State, config: RunnableConfig, runtime: Runtime[RunContext]) -> Any:
        if _must_wait(others, state):
            return Command(goto=[node.id])
        context = runtime.context
        step = StepId(node.id, _visits(state, node.id) + 1) if repeated else once
        changed = _changed(step, context)
        if changed:
            state = {**state, **changed}
        outcome = await perform(work, state, step, handled, task=_task(config), context=context)
        goto = None
        update: Update = {}
        if isinstance(outcome, Failure):
            goto = _after_failure(node, outcome)
        else:
            update = outcome
            context.outputs.add(update)
        if changed:
            update = _overwriting(plan, changed, update)
        if repeated:
            update = {**update, VISITS: {node.id: step.visit}}
        if fixed:
            return update
        onward = Onward((goto,)) if goto else _onward(plan, node.id, state, update)
        if not _is_replayed(step, context):
            _emit(onward, context)
        return plan.command(node.id, onward, update, state)

    return run


async def perform(
    work: Work, values: State, step: StepId, handled: Handled, *, task: str, context: RunContext
) -> Update | Failure:
    """A step's outputs, or why it failed: from what is recorded of it, else by executing it."""
    recorder = context.recorder
    if _is_replayed(step, context):
        recorded = recorder.recorded[step]
        return recorded.error or dict(recorded.outputs or {})
    waited = await recorder.begin(step)
    clock = context.steps.clock
    started = clock()
    recorder.emit(_started(work, step, waited, context))
    try:
        finished = await run_step(
            work, step, context.steps, values=values, loop_turns=lambda node: turns_of(values, node)
        )
    except ClaimLost:
        raise
    except BudgetExceeded as error:
        raise _ended(error, step, started, task=task, context=context) from error
    except FlowyardError as error:
        failure = failure_of(error, step.node)
        recorder.settle(task, StepFailed(step, clock() - started, failure, handled))
        return failure
    finally:
        recorder.end(step)
    recorder.settle(task, finished)
    return dict(finished.outputs)


def _started(work: Work, step: StepId, waited: float, context: RunContext) -> StepStarted:
    gate = context.steps.budget_gate
    reserves = gate is not None and gate.budget is not None
    for first in work.node.models[:1]:
        return StepStarted(step, waited, first.provider, first.model, reserves)
    return StepStarted(step, waited)


def _ended(error: BudgetExceeded, step: StepId, started: float, *, task: str, context: RunContext) -> Exception:
    """The error that ends the run, whatever `on_error` says. The first step that the budget stops gives the reason."""
    if context.failed is None:
        failure = failure_of(error, step.node)
        context.recorder.settle(task, StepFailed(step, context.steps.clock() - started, failure, "fail"))
        context.failed = NodeFailed(failure)
    return context.failed


def _is_replayed(step: StepId, context: RunContext) -> bool:
    """Whether the step ended under an earlier claim: its events, and those of its transition, are recorded already."""
    recorded = context.recorder.recorded.get(step)
    return recorded is not None and recorded.status != "waiting"


def _emit(onward: Onward, context: RunContext) -> None:
    for event in onward.events:
        context.recorder.emit(event)


def _task(config: RunnableConfig) -> str:
    return str(config["configurable"][_TASK])


def _visits(state: State, node: str) -> int:
    return int((state.get(VISITS) or {}).get(node, 0))


def _changed(step: StepId, context: RunContext) -> Mapping[str, Any]:
    """The fields that a fork changes before this step."""
    fork = context.recorder.fork
    return fork.changes_before(step.node, step.visit) if fork is not None else {}


def _overwriting(plan: Plan, changed: Mapping[str, Any], update: Update) -> Update:
    """The step's writes with a fork's changes below them. Where writes merge, the change replaces what was before."""
    seen = after_update(changed, update, plan.merging)
    return {name: Overwrite(value) if name in plan.merging else value for name, value in seen.items()}


def _after_failure(node: Node, failure: Failure) -> str | None:
    """The node to jump to; None to continue after the step. Otherwise the run fails."""
    match node.on_error:
        case Goto(target):
            return target
        case "continue":
            return None
        case _:
            raise NodeFailed(failure)


def _onward(plan: Plan, node: str, state: State, update: Update) -> Onward:
    way = plan.workflow.ways[node]
    seen = state if isinstance(way, Next) else after_update(state, update, plan.merging)
    try:
        return go_on(node, way, seen, plan.inner_loops)
    except FlowyardError as error:
        raise NodeFailed(failure_of(error, node)) from error


def passage(place: str, source: str, plan: Plan) -> Runner:
    """A place without work from which a run goes on by the way of `source`: a START that chooses, a join that does."""
    others = plan.meeting.get(place)

    async def run(state: State, runtime: Runtime[RunContext]) -> Any:
        if _must_wait(others, state):
            return Command(goto=[place])
        onward = _onward(plan, source, state, {})
        _emit(onward, runtime.context)
        return plan.command(place, onward, {}, state)

    return run


def _must_wait(others: frozenset[str] | None, state: State) -> bool:
    """Whether another branch may still arrive."""
    return others is not None and any(place in others for place in state.get(TOKENS) or ())


def item_runner(node: Node, plan: Plan) -> Runner:
    """Runs a map's node for the item that it is handed; the fields that its templates name are read from the state."""
    way = plan.maps[node.id]
    work = work_of(node, plan.workflow.secrets - {way.item})
    names = [*(plan.workflow.fields.keys() & node.names_read), VISITS, *({LOOPS} & set(plan.bookkeeping))]

    async def run(task: dict[str, Any], config: RunnableConfig, runtime: Runtime[RunContext]) -> Update:
        context, index = runtime.context, task["index"]
        state: State = config["configurable"][_READ](names)
        step = StepId(node.id, _visits(state, node.id) + 1, index)
        values = {**state, way.item: task["item"]}
        async with context.limit(node.id, way.max_concurrency):
            if context.failed is not None:
                # Another item has failed the run: until LangGraph has cancelled the rest, none may cost anything.
                raise context.failed
            outcome = await perform(work, values, step, way.on_item_error, task=_task(config), context=context)
            result = _item_result(way, outcome, context)
        # In a list, because the channel takes a list as several writes.
        return {RESULTS: [[node.id, index, result]]}

    return run


def _item_result(way: Map, outcome: Update | Failure, context: RunContext) -> list[Any]:
    """`[result]`, or `[]` for an item that failed and is skipped."""
    if not isinstance(outcome, Failure):
        return [next(iter(outcome.values()))] if len(outcome) == 1 else [outcome]
    if way.on_item_error == "fail":
        context.failed = NodeFailed(outcome)
        raise context.failed
    return [] if way.on_item_error == "skip" else [{"error": outcome.code, "message": outcome.message}]


def collecting(node: Node, plan: Plan) -> Runner:
    """Puts the results of a map into their field, in the order of the items, and continues with the next nodes."""
    way = plan.maps[node.id]
    fixed = plan.fixed(node.id) is not None
    place = collector(node.id)

    async def run(state: State, runtime: Runtime[RunContext]) -> Any:
        results = sorted(r[1:] for r in state.get(RESULTS) or () if r[0] == node.id)
        collected = {way.collect_field: [value for _, result in results for value in result]}
        runtime.context.outputs.add(collected)
        update: Update = {**collected, VISITS: {node.id: _visits(state, node.id) + 1}}
        if fixed:
            return update
        onward = _onward(plan, node.id, state, update)
        _emit(onward, runtime.context)
        return plan.command(place, onward, update, state)

    return run
