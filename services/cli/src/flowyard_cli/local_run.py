"""`flowyard run FILE`: a run of a document in this process."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowyard.drafts.check import document_checks
from flowyard.errors.steps import ModelError
from flowyard.ids import uuid7
from flowyard.language.installation import ANY
from flowyard.language.load import Loaded
from flowyard.language.workflow import Workflow
from flowyard.llm.models import check_keys, open_models
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.events import Event, RunFinished
from flowyard.runs.summary import RunSummary
from flowyard_cli import exits
from flowyard_cli.code import open_code
from flowyard_cli.commands.run import RunArgs
from flowyard_cli.installation import (
    installation_of,
    litellm_of,
    open_own_tools,
    prices_of,
    reply_limit_of,
    tool_rules_of,
    variables_of,
)
from flowyard_cli.models import replies_for, with_model
from flowyard_cli.reading import read_document, read_inputs
from flowyard_cli.show.problems import problems_as_data
from flowyard_cli.show.progress import RunProgress, open_progress, shows_tokens
from flowyard_cli.show.result import print_result, result_as_data
from flowyard_embedded.startup import quick_imports
from flowyard_embedded.streams import print_json, say


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run about to start: everything that can be checked before has been checked."""

    workflow: Workflow
    inputs: Mapping[str, Any]
    scripted: ScriptedModel | None


def run_file(args: RunArgs) -> int:
    """Returns the exit code of the run; 2 if the document has errors. Raises InvalidInputs, UnreadableFile."""
    # With --model, none of the document's own models is called.
    document = read_document(args.file, ANY if args.model else installation_of(os.environ))
    if not args.json:
        for problem in document.problems:
            say(problem.render(document.file))
    if document.workflow is None:
        if args.json:
            print_json({"status": "invalid", "problems": list(problems_as_data(document))})
        return exits.WRONG_INPUT
    prepared = _prepare(args, document, document.workflow)
    summary = RunSummary()
    wants_tokens = shows_tokens(quiet=args.json, stream=args.stream)
    with open_progress(quiet=args.json and not args.stream, stream=args.stream) as progress:
        code = asyncio.run(_run(prepared, summary, progress, stream=wants_tokens))
    if args.json:
        print_json({**result_as_data(summary), "warnings": list(problems_as_data(document))})
    else:
        print_result(summary)
    return code


def _prepare(args: RunArgs, document: Loaded, workflow: Workflow) -> PreparedRun:
    if args.model:
        workflow = with_model(workflow, args.model)
    inputs = read_inputs(workflow, args.given, args.inputs)
    replies = replies_for(workflow, Path(document.file).parent)
    limit = reply_limit_of(os.environ)
    prepared = PreparedRun(workflow, inputs, ScriptedModel(replies, limit) if replies is not None else None)
    litellm, variables = litellm_of(os.environ), variables_of(os.environ)
    check_keys(workflow.models, os.environ, _referenced_files(), litellm=litellm, variables=variables)
    return prepared


def _referenced_files() -> Path | None:
    """The folder of the files that documents refer to; executors read the same variable."""
    named = os.environ.get("FLOWYARD_REFERENCED_FILES")
    return Path(named) if named else None


async def _run(prepared: PreparedRun, summary: RunSummary, progress: RunProgress, *, stream: bool) -> int:
    """Returns the exit code. Ctrl-C and SIGTERM cancel the run; `summary` has what it did until then."""
    # Inline: LangGraph takes 0.7 s to import; a missing input is reported sooner.
    with quick_imports():
        from flowyard.graph.compile import compile_workflow  # noqa: PLC0415
        from flowyard.graph.run import run_workflow  # noqa: PLC0415

    def emit(event: Event) -> None:
        summary.add(event, time.perf_counter())
        progress.show(event)

    terminated = _cancel_on_sigterm()
    try:
        opening = open_models(
            os.environ,
            scripted=prepared.scripted,
            files=_referenced_files(),
            reply_limit=reply_limit_of(os.environ),
            litellm=litellm_of(os.environ),
            prices=prices_of(os.environ),
            variables=variables_of(os.environ),
        )
        async with (
            opening as models,
            open_code(prepared.workflow) as run_code,
            open_own_tools(needed=prepared.workflow.calls_tools) as tools,
        ):
            # The run itself reports a model that can't be opened; it may have a fallback.
            with suppress(ModelError):
                await models.prepare(prepared.workflow.models)
            result = await run_workflow(
                compile_workflow(prepared.workflow),
                prepared.inputs,
                run_id=str(uuid7(time.time_ns() // 1_000_000, secrets.token_bytes(10))),
                model=models,
                emit=emit,
                stream=stream,
                terms=models.terms,
                check_documents=document_checks(lambda: installation_of(os.environ)),
                tools=tools,
                tool_rules=tool_rules_of(os.environ),
                run_code=run_code,
            )
    except asyncio.CancelledError:
        if summary.status is None:
            emit(RunFinished("cancelled", 0.0, {}))
        # Only a signal cancels this task, and the process ends now: the exit code says which signal.
        return exits.TERMINATED if terminated.is_set() else exits.CANCELLED
    return exits.OK if result.status == "succeeded" else exits.RUN_FAILED


def _cancel_on_sigterm() -> asyncio.Event:
    """Makes SIGTERM cancel the task, as asyncio does for SIGINT. The event is set by SIGTERM only."""
    terminated = asyncio.Event()
    task = asyncio.current_task()

    def cancel() -> None:
        terminated.set()
        if task is not None:
            task.cancel()

    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel)
    return terminated
