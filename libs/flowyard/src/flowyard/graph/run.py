"""Executes one run of a compiled workflow: from its inputs in memory, or from its recorded rows."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, assert_never

from langchain_core.runnables import RunnableConfig
from langsmith import tracing_context

from flowyard.errors.base import FlowyardError
from flowyard.errors.runs import ClaimLost
from flowyard.graph.compile import Compiled
from flowyard.graph.context import Arrival, RunContext
from flowyard.graph.marking import Branch, Marking
from flowyard.graph.tasks import Together
from flowyard.graph.walk import NodeFailed, Walk
from flowyard.language.inputs import valid_inputs
from flowyard.language.tools import NO_RULES, ToolRules
from flowyard.llm.calls import Model
from flowyard.runs.events import Emit, Failure, RunFinished, RunStarted, Status
from flowyard.runs.run import Ended
from flowyard.secrets.masking import MASK
from flowyard.steps.budget_gate import BudgetGate, TermsOf, canned_terms
from flowyard.steps.code_runner import RunCode, no_sandbox
from flowyard.steps.context import CheckDocuments, SizeLimits, StepContext, no_checks
from flowyard.steps.recorder import InMemory
from flowyard.steps.vault import InMemoryVault
from flowyard.tools.registry import ToolRegistry

_MANY: Final = 10_000_000
"""LangGraph's own limit is out of the way. It counts places, and a branch comes to each by a step or by a choice: every
cycle of a valid workflow is bounded by its loop."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `outputs`: of the run; after a failure, those written so far. `state`: all fields."""

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
    log_prompts: bool = False,
    terms: TermsOf = canned_terms,
    check_documents: CheckDocuments = no_checks,
    run_code: RunCode = no_sandbox,
    sizes: SizeLimits = SizeLimits(),  # noqa: B008  # frozen
    tools: ToolRegistry | None = None,
    tool_rules: ToolRules = NO_RULES,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.perf_counter,
) -> RunResult:
    """Runs to the end in memory and reports everything to `emit`. Raises InvalidInputs; a failed run is a result.

    `terms`: what models cost, for the budget; without it they are free, as canned replies are. `check_documents`: of
    outputs with `format: workflow`; else none is taken. `tools`: else the built-in ones. `run_code`: of code nodes.

    If the calling task is cancelled, model calls are aborted, RunFinished says `cancelled`, and it goes on.
    """
    workflow = compiled.workflow
    given = valid_inputs(workflow, inputs)
    vault = InMemoryVault({name: given[name] for name in workflow.secrets})
    checked = {**given, **dict.fromkeys(workflow.secrets, MASK)}
    started = clock()
    emit(RunStarted(run_id, workflow.name, workflow.digest))

    def finish(status: Status, outputs: Mapping[str, Any], error: Failure | None = None) -> None:
        emit(RunFinished(status, clock() - started, outputs, error))

    steps = StepContext(
        run_id=run_id,
        model=model,
        recorder=InMemory(emit, sleep),
        streams=lambda: stream,
        log_prompts=log_prompts,
        chance=chance,
        clock=clock,
        budget_gate=BudgetGate(workflow.budget, terms) if workflow.budget is not None else None,
        vault=vault,
        check_documents=check_documents,
        run_code=run_code,
        sizes=sizes,
        tools=tools or ToolRegistry(),
        tool_rules=tool_rules,
    )
    walk = Walk(compiled.plan, Marking(compiled.plan, checked), steps)
    try:
        result = await drive(compiled, walk, in_pages(), timeout_s=workflow.execution.timeout)
    except asyncio.CancelledError:
        finish("cancelled", walk.marking.outputs())
        raise
    finish(result.status, result.outputs, result.error)
    return result


Pages: TypeAlias = AsyncGenerator[Sequence[Ended], None]
"""The recorded rows of a run, in the order in which they ended."""


async def in_pages(*pages: Sequence[Ended]) -> Pages:
    """Pages that are in memory, as an asynchronous iterator."""
    for page in pages:
        yield page


async def drive(compiled: Compiled, walk: Walk, recorded: Pages, *, timeout_s: float | None) -> RunResult:
    """Replays the recorded rows of a run, and executes the rest until the run has succeeded or failed.

    `timeout_s`: seconds that are left of the run's time limit. Passes on what the recorder raises to stop the run.
    """
    run_id, marking = walk.steps.run_id, walk.marking
    try:
        await _execute(compiled, walk, recorded, timeout_s)
    except (NodeFailed, FlowyardError, _RunTimeout) as error:
        if isinstance(error, ClaimLost):
            raise
        state = marking.state()
        return RunResult(run_id, "failed", marking.outputs(state), _failure(error), state)
    state = marking.state()
    return RunResult(run_id, "succeeded", marking.outputs(state), None, state)


class _RunTimeout(Exception):
    """The run's own timeout is over."""


async def _execute(compiled: Compiled, walk: Walk, recorded: Pages, timeout_s: float | None) -> None:
    limit = asyncio.timeout(timeout_s)
    branches = Together()
    context = RunContext(walk, lambda branch: branches.add(_follow(compiled, branch, context)))
    try:
        async with limit:
            async with aclosing(recorded):
                at_work = await walk.replay(recorded)
            # LangGraph would send states and prompts to LangSmith if the environment asked for it.
            with tracing_context(enabled=False):
                await branches.run(_follow(compiled, branch, context) for branch in at_work)
    except TimeoutError as error:
        if limit.expired():
            seconds = compiled.workflow.execution.timeout or 0
            raise _RunTimeout(f"the run took longer than its timeout of {seconds:g} s") from error
        raise
    if not walk.marking.is_over:
        raise RuntimeError("nothing is at work, and the run isn't over")


async def _follow(compiled: Compiled, branch: Branch, context: RunContext) -> None:
    """Executes one branch until it meets another one or ends, from the place where it stands."""
    config: RunnableConfig = {"recursion_limit": _MANY}
    # Many may begin together.
    await context.walk.take_turn()
    line = compiled.plan.lines[branch.at]
    async for _ in compiled.graph.astream({line: Arrival(line, branch, context)}, config, stream_mode=[]):
        pass


def _failure(error: NodeFailed | FlowyardError | _RunTimeout) -> Failure:
    match error:
        case NodeFailed():
            return error.failure
        case FlowyardError():
            return Failure(error.code, str(error))
        case _RunTimeout():
            return Failure("run_timeout", str(error))
        case _:
            assert_never(error)
