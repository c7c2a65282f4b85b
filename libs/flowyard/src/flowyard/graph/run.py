"""One run of a compiled workflow, from its inputs to its end, in memory."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowyard.errors import StepError
from flowyard.graph.compile import Compiled, NodeFailed
from flowyard.graph.context import RunContext
from flowyard.graph.steps import failure_of
from flowyard.language.inputs import valid_inputs
from flowyard.language.workflow import Workflow
from flowyard.llm.calls import Model
from flowyard.runs.events import Emit, Event, Failure, RunFinished, RunStarted, Status, StepFinished

_SUPERSTEPS: Final = 10_000_000
"""LangGraph's own limit, out of the way: every cycle of a valid workflow is bounded by its loop."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `outputs`: the fields that its nodes wrote; after a failure those written so far."""

    run_id: str
    status: Status
    outputs: Mapping[str, Any]
    error: Failure | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


async def run_workflow(
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
    progress = _Progress(emit)
    started = clock()
    emit(RunStarted(run_id, workflow.name, workflow.digest, checked))

    def finish(status: Status, outputs: Mapping[str, Any], error: Failure | None = None) -> None:
        emit(RunFinished(status, clock() - started, outputs, error))

    context = RunContext(model, progress.note, stream, sleep, chance, clock)
    try:
        state = await _invoke(compiled, compiled.plan.start(checked), context)
    except asyncio.CancelledError:
        finish("cancelled", progress.outputs)
        raise
    except (NodeFailed, StepError, _RunTimeout) as error:
        failure = _failure(error, workflow)
        finish("failed", progress.outputs, failure)
        return RunResult(run_id, "failed", progress.outputs, failure)
    outputs = _outputs(workflow, state, progress.outputs)
    finish("succeeded", outputs)
    return RunResult(run_id, "succeeded", outputs, None, {name: state.get(name) for name in workflow.fields})


class _Progress:
    """Passes events on, and keeps what the steps have written so far."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.outputs: dict[str, Any] = {}

    def note(self, event: Event) -> None:
        if isinstance(event, StepFinished) and event.step.item is None:
            self.outputs.update(event.outputs)
        self.emit(event)


class _RunTimeout(Exception):
    """The run's own timeout is over."""


async def _invoke(compiled: Compiled, state: dict[str, Any], context: RunContext) -> Mapping[str, Any]:
    work = compiled.graph.ainvoke(state, {"recursion_limit": _SUPERSTEPS}, context=context)
    seconds = compiled.workflow.execution.timeout
    if seconds is None:
        return await work or {}
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work or {}
    except TimeoutError as error:
        if limit.expired():
            raise _RunTimeout(seconds) from error
        raise


def _failure(error: NodeFailed | StepError | _RunTimeout, workflow: Workflow) -> Failure:
    match error:
        case NodeFailed():
            return failure_of(error.error, error.node)
        case _RunTimeout():
            return Failure("run_timeout", f"the run took longer than its timeout of {workflow.execution.timeout:g} s")
        case StepError():
            return Failure(error.code, str(error))


def _outputs(workflow: Workflow, state: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that nodes wrote, in the order in which the document declares them."""
    maps = workflow.maps
    names = {o.field for node in workflow.nodes.values() if node.id not in maps for o in node.outputs}
    names |= {way.collect_field for way in maps.values()}
    found = {name: state.get(name) for name in workflow.fields if name in names}
    return {name: value for name, value in found.items() if value is not None or name in written}
