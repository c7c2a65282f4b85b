"""One run of a compiled workflow, from its inputs to its end, in memory."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from langchain_core.runnables import RunnableConfig
from langgraph.errors import InvalidUpdateError
from langsmith import tracing_context

from flowyard.errors import FlowyardError
from flowyard.graph.compile import Compiled
from flowyard.graph.context import RunContext
from flowyard.graph.nodes import NodeFailed
from flowyard.graph.state import Written
from flowyard.graph.steps import failure_of
from flowyard.language.inputs import valid_inputs
from flowyard.language.workflow import Workflow
from flowyard.llm.calls import Model
from flowyard.runs.events import Emit, Failure, RunFinished, RunStarted, Status

_CONFIG: Final[RunnableConfig] = {"recursion_limit": 10_000_000}
"""LangGraph's own limit is out of the way: every cycle of a valid workflow is bounded by its loop."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `outputs`: the fields that its nodes wrote; after a failure those written so far."""

    run_id: str
    status: Status
    outputs: Mapping[str, Any]
    error: Failure | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


async def run_workflow(  # noqa: PLR0913  # the last three are the world, given so that tests need not wait for it
    compiled: Compiled,
    inputs: Mapping[str, Any],
    *,
    run_id: str,
    model: Model,
    emit: Emit,
    stream: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.perf_counter,
) -> RunResult:
    """Runs to the end and reports everything to `emit`. Raises InvalidInputs; a failed run is a result, no exception.

    If the calling task is cancelled, the model calls in flight are aborted, RunFinished says `cancelled`, and the
    cancellation goes on.
    """
    workflow = compiled.workflow
    checked = valid_inputs(workflow, inputs)
    start = compiled.plan.start(checked)
    written = Written(start, compiled.plan.merging)
    started = clock()
    emit(RunStarted(run_id, workflow.name, workflow.digest, checked))

    def finish(status: Status, outputs: Mapping[str, Any], error: Failure | None = None) -> None:
        emit(RunFinished(status, clock() - started, outputs, error))

    context = RunContext(model, emit, stream, sleep, chance, clock, written)
    try:
        state = await _invoke(compiled, start, context)
    except asyncio.CancelledError:
        finish("cancelled", _in_order(workflow, written.values))
        raise
    except (NodeFailed, FlowyardError, InvalidUpdateError, _RunTimeout) as error:
        outputs, failure = _in_order(workflow, written.values), _failure(error)
        finish("failed", outputs, failure)
        return RunResult(run_id, "failed", outputs, failure)
    outputs = _in_order(workflow, {name: state.get(name) for name in written.values})
    finish("succeeded", outputs)
    return RunResult(run_id, "succeeded", outputs, None, {name: state.get(name) for name in workflow.fields})


def _in_order(workflow: Workflow, outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: outputs[name] for name in workflow.fields if name in outputs}


class _RunTimeout(Exception):
    """The run's own timeout is over."""


async def _invoke(compiled: Compiled, state: dict[str, Any], context: RunContext) -> Mapping[str, Any]:
    limit = asyncio.timeout(compiled.workflow.execution.timeout)
    try:
        async with limit:
            # LangGraph would send states and prompts to LangSmith if the environment asked for it.
            with tracing_context(enabled=False):
                return await compiled.graph.ainvoke(state, _CONFIG, context=context) or {}
    except TimeoutError as error:
        if limit.expired():
            raise _RunTimeout(
                f"the run took longer than its timeout of {compiled.workflow.execution.timeout:g} s"
            ) from error
        raise


def _failure(error: NodeFailed | FlowyardError | InvalidUpdateError | _RunTimeout) -> Failure:
    match error:
        case NodeFailed():
            return failure_of(error.error, error.node)
        case FlowyardError():
            return Failure(error.code, str(error))
        case InvalidUpdateError():
            reason = str(error).partition(".")[0]
            return Failure("parallel_writes", f"branches wrote a field at the same time: {reason}")
        case _RunTimeout():
            return Failure("run_timeout", str(error))
        case _:
            assert_never(error)
