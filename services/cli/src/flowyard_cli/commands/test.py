"""`flowyard test`: the tests that documents carry, with canned replies."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flowyard.language.values.expressions import equal
from flowyard.language.workflow import Case, Workflow
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.summary import RunSummary
from flowyard_cli import exits
from flowyard_cli.grammar import carry_out, examples
from flowyard_cli.installation import reply_limit_of
from flowyard_cli.reading import UnreadableFile, read_document
from flowyard_cli.show.format import render_failure, seconds
from flowyard_embedded.startup import quick_imports
from flowyard_embedded.streams import put, say

if TYPE_CHECKING:
    from flowyard.graph.compile import Compiled


_EXAMPLES: Final = """\
  flowyard test triage.yaml
  flowyard test flows/*.yaml -k invoice

A test in a document:
  tests:
    - name: writes about rain
      inputs: {topic: rain}
      replies: {write: "Soft rain on the roof"}
      expect: {outputs: {poem: "Soft rain on the roof"}}"""


@dataclass(frozen=True)
class TestArgs:
    """`word`: only tests with it in their name."""

    files: Sequence[str]
    word: str


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    parser.add_argument("files", metavar="FILE", nargs="+", help="workflows")
    parser.add_argument("-k", dest="word", metavar="WORD", default="", help="only tests with this word in their name")
    carry_out(parser, TestArgs, execute)


def execute(args: TestArgs) -> int:
    verdicts: list[bool] = []
    wrong = False
    for file in args.files:
        workflow = _workflow(file)
        if workflow is None:
            wrong = True
            continue
        cases = [case for case in workflow.cases if args.word in case.name]
        if not cases:
            put(f"{Path(file).name}: no tests" + (f" with '{args.word}' in their name" if args.word else ""))
        verdicts += _verdicts(Path(file).name, workflow, cases)
    failed = verdicts.count(False)
    put(f"{len(verdicts) - failed} passed, {failed} failed")
    return exits.WRONG_INPUT if wrong else exits.RUN_FAILED if failed else exits.OK


def _workflow(file: str) -> Workflow | None:
    """None if the file has no valid workflow; its problems are printed."""
    try:
        document = read_document(file)
    except UnreadableFile as error:
        say(f"flowyard: {error}")
        return None
    for problem in document.problems:
        say(problem.render(document.file))
    return document.workflow


def _verdicts(file: str, workflow: Workflow, cases: Sequence[Case]) -> list[bool]:
    # Inline: LangGraph takes 0.7 s to import; problems of a document are printed sooner.
    with quick_imports():
        from flowyard.graph.compile import compile_workflow  # noqa: PLC0415

    compiled = compile_workflow(workflow)
    return [_report(file, compiled, case) for case in cases]


def _report(file: str, compiled: Compiled, case: Case) -> bool:
    started = time.perf_counter()
    summary, state = asyncio.run(run_case(compiled, case))
    faults = list(differences(case, summary, state))
    verdict = "FAIL" if faults else "ok"
    put(f"{verdict:<4} {file}: {case.name} ({seconds(time.perf_counter() - started)})")
    for fault in faults:
        put(f"       {fault}")
    return not faults


async def run_case(compiled: Compiled, case: Case) -> tuple[RunSummary, Mapping[str, Any]]:
    """Runs a test of a document, without the waits between retries. Returns also the final value of every field."""
    # Inline: as above.
    from flowyard.graph.run import run_workflow  # noqa: PLC0415

    summary = RunSummary()
    result = await run_workflow(
        compiled,
        case.inputs,
        run_id="test",
        model=ScriptedModel(case.replies, reply_limit_of(os.environ)),
        emit=lambda event: summary.add(event, time.perf_counter()),
        sleep=_no_wait,
    )
    return summary, result.state


async def _no_wait(delay_s: float) -> None:
    del delay_s


def differences(case: Case, summary: RunSummary, state: Mapping[str, Any]) -> Iterator[str]:
    """The differences between a run and what its test expects, a line each."""
    expect, error = case.expect, summary.error
    if summary.status != expect.status:
        because = f": {render_failure(error)}" if error else ""
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
