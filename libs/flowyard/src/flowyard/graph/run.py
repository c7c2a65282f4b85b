"""One run of a compiled workflow: in memory from its inputs to its end, or on from wherever it is."""

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

from flowyard.errors.base import FlowyardError
from flowyard.errors.runs import ClaimLost
from flowyard.graph.compile import Compiled
from flowyard.graph.context import RunContext
from flowyard.graph.nodes import NodeFailed
from flowyard.graph.outputs import RunOutputs
from flowyard.graph.state import Update
from flowyard.language.inputs import valid_inputs
from flowyard.llm.calls import Model
from flowyard.runs.events import Emit, Failure, RunFinished, RunStarted, Status
from flowyard.secrets.masking import MASK
from flowyard.steps.budget_gate import BudgetGate, TermsOf, canned_terms
from flowyard.steps.context import StepContext
from flowyard.steps.recorder import InMemory
from flowyard.steps.vault import InMemoryVault

_MANY: Final = 10_000_000
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
    terms: TermsOf = canned_terms,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.perf_counter,
) -> RunResult:
    """Runs to the end in memory and reports everything to `emit`. Raises InvalidInputs; a failed run is a result.

    `terms`: what models cost, to keep the workflow's budget. Without it they are free, as canned replies are.

    If the calling task is cancelled, the model calls in flight are aborted, RunFinished says `cancelled`, and the
    cancellation goes on.
    """
    workflow = compiled.workflow
    given = valid_inputs(workflow, inputs)
    vault = InMemoryVault({name: given[name] for name in workflow.secrets})
    checked = {**given, **dict.fromkeys(workflow.secrets, MASK)}
    start = compiled.plan.start(checked)
    started = clock()
    emit(RunStarted(run_id, workflow.name, workflow.digest))

    def finish(status: Status, outputs: Mapping[str, Any], error: Failure | None = None) -> None:
        emit(RunFinished(status, clock() - started, outputs, error))

    steps = StepContext(
        run_id=run_id,
        model=model,
        recorder=InMemory(emit, sleep),
        stream=stream,
        chance=chance,
        clock=clock,
        budget_gate=BudgetGate(workflow.budget, terms) if workflow.budget is not None else None,
        vault=vault,
    )
    context = RunContext(steps, RunOutputs(start, compiled.plan.merging))
    try:
        result = await drive(compiled, start, context, run_id=run_id, timeout_s=workflow.execution.timeout)
    except asyncio.CancelledError:
        finish("cancelled", context.outputs.of(workflow))
        raise
    finish(result.status, result.outputs, result.error)
    return result


async def drive(
    compiled: Compiled, start: Update | None, context: RunContext, *, run_id: str, timeout_s: float | None
) -> RunResult:
    """Executes until the run has succeeded or failed. `start`: the first state, or None to resume from a checkpoint.

    `timeout_s`: what is left of the run's time. Whatever the recorder raises to stop the run goes through.
    """
    workflow = compiled.workflow
    try:
        state = await _invoke(compiled, start, context, run_id=run_id, timeout_s=timeout_s)
    except (NodeFailed, FlowyardError, InvalidUpdateError, _RunTimeout) as error:
        if isinstance(error, ClaimLost):
            raise
        return RunResult(run_id, "failed", context.outputs.of(workflow), _failure(error))
    outputs = {name: state.get(name) for name in context.outputs.of(workflow)}
    return RunResult(run_id, "succeeded", outputs, None, {name: state.get(name) for name in workflow.fields})


class _RunTimeout(Exception):
    """The run's own timeout is over."""


async def _invoke(
    compiled: Compiled, start: Update | None, context: RunContext, *, run_id: str, timeout_s: float | None
) -> Mapping[str, Any]:
    limit = asyncio.timeout(timeout_s)
    config: RunnableConfig = {"recursion_limit": _MANY, "configurable": {"thread_id": run_id}}
    try:
        async with limit:
            # LangGraph would send states and prompts to LangSmith if the environment asked for it. It needn't wait for
            # a checkpoint to be on disk either: the recorder does, before the next step begins.
            with tracing_context(enabled=False):
                return await compiled.graph.ainvoke(start, config, context=context, **_durability(compiled)) or {}
    except TimeoutError as error:
        if limit.expired():
            seconds = compiled.workflow.execution.timeout or 0
            raise _RunTimeout(f"the run took longer than its timeout of {seconds:g} s") from error
        raise


def _durability(compiled: Compiled) -> dict[str, Any]:
    return {"durability": "async"} if compiled.graph.checkpointer else {}


def _failure(error: NodeFailed | FlowyardError | InvalidUpdateError | _RunTimeout) -> Failure:
    match error:
        case NodeFailed():
            return error.failure
        case FlowyardError():
            return Failure(error.code, str(error))
        case InvalidUpdateError():
            reason = str(error).partition(".")[0]
            return Failure("parallel_writes", f"branches wrote a field at the same time: {reason}")
        case _RunTimeout():
            return Failure("run_timeout", str(error))
        case _:
            assert_never(error)
