"""What LangGraph runs at each place of the graph: a step, a map, a choice without work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig

from flowyard.errors.base import FlowyardError
from flowyard.errors.runs import ClaimLost
from flowyard.errors.steps import BudgetExceeded
from flowyard.graph.context import Arrival
from flowyard.graph.maps import execute_items
from flowyard.graph.marking import Branch
from flowyard.graph.plan import Plan
from flowyard.graph.transitions import turns_of
from flowyard.graph.walk import Walk
from flowyard.language.nodes import Goto, Node
from flowyard.language.values.expression_values import ExpressionContext
from flowyard.runs.events import StepFailed, StepFinished, StepId, StepStarted
from flowyard.steps.failures import failure_of
from flowyard.steps.step import Work, run_step, work_of

Handled: TypeAlias = Literal["fail", "continue", "goto", "skip", "collect"]
Place: TypeAlias = Callable[[Branch, Walk], Awaitable[list[Branch]]]
"""Does what is to be done at a place of the workflow. Returns the branches that continue."""


class Line(Runnable[Arrival, Arrival | None]):
    """A node of LangGraph's: one straight line of the workflow, whose places need none of LangGraph's costly moves.

    `after`: the lines to which its edges lead.
    """

    def __init__(self, places: Mapping[str, Place], plan: Plan, after: Collection[str]) -> None:
        self._places = places
        self._plan = plan
        self._after = after

    # The parameters are those of Runnable.
    def invoke(self, input: Arrival, config: RunnableConfig | None = None, **kwargs: Any) -> Arrival | None:  # noqa: A002
        raise NotImplementedError

    async def ainvoke(self, input: Arrival, config: RunnableConfig | None = None, **kwargs: Any) -> Arrival | None:  # noqa: A002
        """Where the branch arrives next; None: nowhere."""
        _, branch, context = input
        while True:
            ready = await self._places[branch.at](branch, context.walk)
            if len(ready) != 1:
                # This task of LangGraph's follows one branch: several get a task of their own each.
                for other in ready:
                    context.follow(other)
                return None
            [branch] = ready
            if branch.at in self._places:
                continue
            line = self._plan.lines[branch.at]
            if line in self._after:
                return Arrival(line, branch, context)
            # Not the one that has come here: it has waited at a place where branches meet.
            context.follow(branch)
            return None


def step_place(node: Node, plan: Plan) -> Place:
    work = work_of(node, plan.workflow.secrets)
    handled: Handled = "goto" if isinstance(node.on_error, Goto) else node.on_error

    async def run(branch: Branch, walk: Walk) -> list[Branch]:
        with at_work(step := StepId(node.id, branch.visit), walk):
            end = await perform(work, branch.state, step, handled, walk)
            # Many may end together: their commit is one.
            await walk.take_turn()
            return await walk.end_step(branch, end)

    return run


def map_place(node: Node, plan: Plan) -> Place:
    """Runs a node once per item of a list."""
    map_ = plan.maps[node.id]
    work = work_of(node, plan.workflow.secrets - {map_.item})

    async def run(branch: Branch, walk: Walk) -> list[Branch]:
        async def run_item(index: int, item: Any) -> StepFinished | StepFailed:
            with at_work(step := StepId(node.id, branch.visit, index), walk):
                return await perform(work, {**branch.state, map_.item: item}, step, map_.on_item_error, walk)

        return await walk.end_map(branch, await execute_items(map_, branch, walk, run_item))

    return run


async def choice_place(branch: Branch, walk: Walk) -> list[Branch]:
    """A place without work: a START that chooses, or a join that does."""
    return await walk.choose(branch)


@contextmanager
def at_work(step: StepId, walk: Walk) -> Iterator[None]:
    """At the end of the block, what comes of the step is recorded: until then, the run isn't handed back."""
    try:
        yield
    finally:
        walk.recorder.end(step)


async def perform(work: Work, values: Any, step: StepId, handled: Handled, walk: Walk) -> StepFinished | StepFailed:
    """Executes a step. Its end isn't recorded yet. Raises NodeFailed if the budget ends the run."""
    recorder, clock = walk.recorder, walk.steps.clock
    begun = await recorder.begin(step, work.node.timeout)
    # All items of a map begin at the same moment, when earlier results are durable.
    await walk.pause()
    started = clock()
    recorder.emit(_started(work, step, begun.commit_s, walk))
    try:
        end = await run_step(
            work,
            step,
            walk.steps,
            values=values,
            around=ExpressionContext(partial(turns_of, values), lambda: begun.started_at),
            left_s=begun.left_s,
        )
        walk.sizes.add(walk.marking, step, end.outputs)
        return end
    except ClaimLost:
        raise
    except BudgetExceeded as error:
        # It ends the run, whatever `on_error` says. The first step that the budget stops gives the reason.
        failure = failure_of(error, step.node)
        if walk.failed is None:
            recorder.settle(StepFailed(step, clock() - started, failure, "fail"))
        raise walk.fail(failure) from error
    except FlowyardError as error:
        return StepFailed(step, clock() - started, failure_of(error, step.node), handled)


def _started(work: Work, step: StepId, waited: float, walk: Walk) -> StepStarted:
    gate = walk.steps.budget_gate
    reserves = gate is not None and gate.budget is not None
    for first in work.node.models[:1]:
        return StepStarted(step, waited, first.provider, first.model, reserves)
    return StepStarted(step, waited)
