"""`flowyard test`: the tests that documents carry, with canned replies."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowyard.language.workflow import Case, Workflow
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.summary import RunSummary
from flowyard_embedded import exits
from flowyard_embedded.reading import read_document
from flowyard_embedded.show.format import seconds
from flowyard_embedded.startup import quick_imports


def execute(args: argparse.Namespace) -> int:
    passed = failed = 0
    wrong = False
    for file in args.files:
        document = read_document(file)
        for problem in document.problems:
            print(problem.render(document.file), file=sys.stderr)
        if document.workflow is None:
            wrong = True
            continue
        cases = [case for case in document.workflow.cases if args.k in case.name]
        if not cases:
            print(f"{Path(file).name}: no tests" + (f" with '{args.k}' in their name" if args.k else ""))
        for case in cases:
            if _report(Path(file).name, document.workflow, case):
                passed += 1
            else:
                failed += 1
    print(f"{passed} passed, {failed} failed")
    return exits.WRONG_INPUT if wrong else exits.RUN_FAILED if failed else exits.OK


def _report(file: str, workflow: Workflow, case: Case) -> bool:
    started = time.perf_counter()
    summary = asyncio.run(run_case(workflow, case))
    faults = list(differences(case, summary))
    verdict = "FAIL" if faults else "ok"
    print(f"{verdict:<4} {file}: {case.name} ({seconds(time.perf_counter() - started)})")
    for fault in faults:
        print(f"       {fault}")
    return not faults


async def run_case(workflow: Workflow, case: Case) -> RunSummary:
    """Runs one test of a document. Waits between retries are skipped."""
    # Inline: LangGraph takes 0.7 s to import; a document with problems is told of them at once.
    with quick_imports():
        from flowyard.graph.compile import compile_workflow  # noqa: PLC0415
        from flowyard.graph.run import run_workflow  # noqa: PLC0415

    summary = RunSummary()
    await run_workflow(
        compile_workflow(workflow),
        case.inputs,
        run_id="test",
        model=ScriptedModel(case.replies),
        emit=lambda event: summary.add(event, time.perf_counter()),
        sleep=_no_wait,
    )
    return summary


async def _no_wait(delay_s: float) -> None:
    del delay_s


def differences(case: Case, summary: RunSummary) -> Iterator[str]:
    """What a run came to that its test didn't expect."""
    expect, error = case.expect, summary.error
    if summary.status != expect.status:
        because = f": node '{error.node}': {error.message} [{error.code}]" if error else ""
        yield f"status: expected {expect.status}, got {summary.status}{because}"
        if error is not None and error.reply is not None:
            yield f"the reply was: {_shown(error.reply)}"
    elif expect.error is not None and (error is None or error.code != expect.error):
        yield f"error: expected {expect.error}, got {error.code if error else 'none'}"
    for name, value in expect.outputs.items():
        got = summary.outputs.get(name, case.inputs.get(name))
        if got != value:
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
