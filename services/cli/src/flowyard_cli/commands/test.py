"""`flowyard test`: the tests that documents carry, with canned replies."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowyard.drafts.check import document_checks
from flowyard.language.workflow import Case, Workflow
from flowyard_cli import exits
from flowyard_cli.code import open_code
from flowyard_cli.grammar import carry_out, examples
from flowyard_cli.installation import installation_of, known_tools, reply_limit_of
from flowyard_cli.reading import UnreadableFile, read_document
from flowyard_cli.show.format import seconds
from flowyard_embedded.startup import quick_imports
from flowyard_embedded.streams import put, say

if TYPE_CHECKING:
    from flowyard.graph.cases import CaseResult


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
        from flowyard.graph.cases import CaseLimits, case_result, tools_for_tests  # noqa: PLC0415
        from flowyard.graph.compile import compile_workflow  # noqa: PLC0415

    compiled, check = compile_workflow(workflow), document_checks(lambda: installation_of(os.environ))

    async def run_all() -> list[bool]:
        async with open_code(workflow) as run_code:
            tools = tools_for_tests(known_tools(os.environ))
            limits = CaseLimits(reply_limit=reply_limit_of(os.environ), run_code=run_code, tools=tools)
            return [_report(file, await case_result(compiled, case, limits, check)) for case in cases]

    return asyncio.run(run_all())


def _report(file: str, result: CaseResult) -> bool:
    verdict = "FAIL" if result.faults else "ok"
    put(f"{verdict:<4} {file}: {result.name} ({seconds(result.duration_s)})")
    for fault in result.faults:
        put(f"       {fault}")
    return not result.faults
