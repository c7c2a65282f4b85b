"""One step: its kind of work, retried where that may help, within its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol, assert_never

from flowyard.errors.steps import StepError, StepTimeout
from flowyard.language.nodes import AssertNode, CodeNode, Node, PromptNode, SetNode, ToolNode
from flowyard.language.values.expression_values import ExpressionContext
from flowyard.large_json import encoded_each
from flowyard.runs.events import RetryScheduled, StepFinished, StepId
from flowyard.runs.retry import retry_delay
from flowyard.steps.assertion import AssertWork
from flowyard.steps.code import CodeWork
from flowyard.steps.context import StepContext
from flowyard.steps.failures import failure_of
from flowyard.steps.prompt import PromptWork
from flowyard.steps.running import Outputs, RunningStep, Try
from flowyard.steps.set_fields import SetWork
from flowyard.steps.tool_node import ToolWork


class Work(Protocol):
    """What the steps of one node do; made once per compiled workflow."""

    @property
    def node(self) -> Node: ...

    async def start(self, running: RunningStep) -> Try:
        """Raises EvaluationError for a value that isn't there, ToolError for a tool that isn't."""


def work_of(node: Node, secrets: frozenset[str]) -> Work:
    """`secrets`: the workflow's secret inputs."""
    match node:
        case PromptNode():
            return PromptWork.of(node, secrets)
        case SetNode():
            return SetWork.of(node)
        case AssertNode():
            return AssertWork.of(node)
        case ToolNode():
            return ToolWork.of(node)
        case CodeNode():
            return CodeWork.of(node)
        case _:
            assert_never(node)


async def run_step(
    work: Work,
    step: StepId,
    context: StepContext,
    *,
    values: Mapping[str, Any],
    around: ExpressionContext,
    left_s: float | None,
) -> StepFinished:
    """Executes a node once. `values` and `around`: see RunningStep. Raises FlowyardError.

    `left_s`: seconds until the step's deadline, which its first start has set; None: it has none.
    """
    started = context.clock()
    earlier = context.recorder.open_steps.get(step)
    running = RunningStep(step=step, context=context, values=values, around=around)
    running.tries = earlier.tries - 1 if earlier is not None else 0
    running.calls = context.recorder.calls_before(step)
    outputs = await _in_time(work, running, left_s)
    spent = running.calls.spending
    return StepFinished(
        step=step,
        duration_s=context.clock() - started,
        outputs=await encoded_each(outputs),
        calls=spent.calls,
        tokens_in=spent.tokens_in,
        tokens_out=spent.tokens_out,
        cost_usd=spent.cost_usd,
    )


async def _in_time(work: Work, running: RunningStep, left_s: float | None) -> Outputs:
    if left_s is None:
        return await _retried(work, running)
    if left_s <= 0:
        raise StepTimeout(work.node.id, work.node.timeout or 0)
    running.time_limit = limit = asyncio.timeout(left_s)
    try:
        async with limit:
            return await _retried(work, running)
    except TimeoutError as error:
        if limit.expired():
            raise StepTimeout(work.node.id, work.node.timeout or 0) from error
        raise


async def _retried(work: Work, running: RunningStep) -> Outputs:
    context, node = running.context, work.node
    attempt = None
    while True:
        running.tries += 1
        try:
            attempt = attempt or await work.start(running)
            return await attempt()
        except StepError as error:
            delay = retry_delay(node.retry, error, running.tries, context.chance())
            if delay is None:
                raise
            if running.is_out_of_time_in(delay):
                # Nobody has to wait for a try that the deadline wouldn't permit.
                raise StepTimeout(node.id, node.timeout or 0) from error
            failure = failure_of(error, node.id)
            context.recorder.emit(RetryScheduled(running.step, running.tries + 1, delay, failure))
        await context.recorder.wait(running.step, delay, failure)
