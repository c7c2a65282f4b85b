"""Runs the tests of a workflow in memory, with canned replies: no model, no network, nothing is read or stored."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowyard.graph.compile import Compiled, compile_workflow
from flowyard.graph.run import run_workflow
from flowyard.language.tools import ToolFacts
from flowyard.language.values.expression_values import equal
from flowyard.language.workflow import Case, Workflow
from flowyard.llm.calls import REPLY_LIMIT
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.summary import RunSummary
from flowyard.steps.code_runner import RunCode, no_sandbox
from flowyard.steps.context import CheckDocuments, SizeLimits, no_checks
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.tool import Tool, ToolContext, ToolFailed


def tools_for_tests(tools: ToolRegistry, known: Mapping[str, ToolFacts] | None = None) -> ToolRegistry:
    """What tests of documents call: those without effects, of `tools`; others are there, and fail.

    `known`: others that documents may name.
    """
    others = [Tool(facts, _refuse) for name, facts in (known or {}).items() if tools.get(name) is None]
    return ToolRegistry([*(Tool(tool.facts, _refuse) if tool.facts.effects else tool for tool in tools), *others])


async def _refuse(arguments: Mapping[str, Any], context: ToolContext) -> None:
    del arguments, context
    raise ToolFailed("tests of documents call no tools that have effects, or that aren't on this machine")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """`faults`: the differences from what the test expects; empty: it has passed. `duration_s`: seconds."""

    name: str
    faults: tuple[str, ...]
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseLimits:
    """`reply_limit`: most bytes of a canned reply. `sizes`: of what the steps write. `run_code`: of code nodes.

    `tools`: what nodes may call; None: those that are built in and have no effects.
    """

    reply_limit: int = REPLY_LIMIT
    run_code: RunCode = no_sandbox
    sizes: SizeLimits = SizeLimits()  # noqa: RUF009  # frozen
    tools: ToolRegistry | None = None


def run_cases(
    workflow: Workflow, *, seconds: float, limits: CaseLimits, check_documents: CheckDocuments = no_checks
) -> list[CaseResult]:
    """Runs all tests, one after the other, in an event loop of its own: to be called in a thread.

    `seconds`: for all of them; the one that isn't done by then fails, and those after it aren't run.
    """
    return asyncio.run(_run_cases(workflow, seconds, limits, check_documents))


async def _run_cases(
    workflow: Workflow, seconds: float, limits: CaseLimits, check_documents: CheckDocuments
) -> list[CaseResult]:
    compiled, results = compile_workflow(workflow), list[CaseResult]()
    until = asyncio.get_running_loop().time() + seconds
    for case in workflow.cases:
        try:
            async with asyncio.timeout_at(until):
                results.append(await case_result(compiled, case, limits, check_documents))
        except TimeoutError:
            results.append(CaseResult(case.name, (f"the tests take longer than {seconds:g} s",), seconds))
            break
    return results


async def case_result(
    compiled: Compiled, case: Case, limits: CaseLimits, check_documents: CheckDocuments = no_checks
) -> CaseResult:
    started = time.perf_counter()
    summary, state = await run_case(compiled, case, limits, check_documents)
    return CaseResult(case.name, tuple(differences(case, summary, state)), time.perf_counter() - started)


async def run_case(
    compiled: Compiled, case: Case, limits: CaseLimits, check_documents: CheckDocuments = no_checks
) -> tuple[RunSummary, Mapping[str, Any]]:
    """Runs a test of a document, without the waits between retries. Returns also the final value of every field."""
    summary = RunSummary()
    result = await run_workflow(
        compiled,
        case.inputs,
        run_id="test",
        model=ScriptedModel(case.replies, limits.reply_limit),
        emit=lambda event: summary.add(event, time.perf_counter()),
        check_documents=check_documents,
        run_code=limits.run_code,
        sizes=limits.sizes,
        tools=limits.tools or tools_for_tests(ToolRegistry()),
        sleep=_no_wait,
    )
    return summary, result.state


async def _no_wait(delay_s: float) -> None:
    del delay_s


def differences(case: Case, summary: RunSummary, state: Mapping[str, Any]) -> Iterator[str]:
    """The differences between a run and what its test expects, a line each."""
    expect, error = case.expect, summary.error
    if summary.status != expect.status:
        because = f": {error}" if error else ""
        yield f"status: expected {expect.status}, got {summary.status}{because}"
        if error is not None and error.reply is not None:
            yield f"the reply was: {_shown(error.reply)}"
    elif expect.error is not None and (error is None or error.code != expect.error):
        yield f"error: expected {expect.error}, got {error.code if error else 'none'}"
    for name, value in expect.outputs.items():
        got = state.get(name)
        if not equal(got, value):
            yield f"outputs.{name}: expected {_shown(value)}, got {_shown(got)}"
    if expect.nodes is not None and list(expect.nodes) != summary.path:
        yield f"nodes: expected {', '.join(expect.nodes)}; got {', '.join(summary.path) or 'none'}"
    for node, calls in expect.calls.items():
        made = summary.nodes[node].calls if node in summary.nodes else 0
        if made != calls:
            yield f"calls.{node}: expected {calls}, got {made}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"
