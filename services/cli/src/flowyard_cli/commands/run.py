"""`flowyard run`: one run of one document, in this process; or of a workflow of the running stack, by its name."""

from __future__ import annotations

import argparse
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

from flowyard.errors import InvalidInputs
from flowyard.ids import uuid7
from flowyard.language.load import Loaded
from flowyard.language.nodes import ModelSettings
from flowyard.language.workflow import Workflow
from flowyard.llm.models import check_keys, open_models
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.events import Event, RunFinished
from flowyard.runs.summary import RunSummary
from flowyard.step_errors import ModelError
from flowyard_cli import exits
from flowyard_cli.models import replies_for, with_model
from flowyard_cli.reading import read_document, read_inputs
from flowyard_cli.show.problems import problems_as_data
from flowyard_cli.show.progress import Progress, open_progress
from flowyard_cli.show.result import print_result, result_as_data
from flowyard_embedded.startup import quick_imports
from flowyard_embedded.streams import print_json, say


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that can be wrong before a run starts has been checked."""

    workflow: Workflow
    inputs: Mapping[str, Any]
    scripted: ScriptedModel | None

    @property
    def settings(self) -> tuple[ModelSettings, ...]:
        return self.workflow.models


def execute(args: argparse.Namespace) -> int:
    if not _is_file(args.file):
        # Inline: a run in this process has no use for it.
        with quick_imports():
            from flowyard_cli.remote.running import run_by_name  # noqa: PLC0415

        return run_by_name(args)
    if options := _only_by_name(args):
        raise InvalidInputs(
            [f"{option}: a file runs in this process; this is for a workflow's name" for option in options]
        )
    document = read_document(args.file)
    if not args.json:
        for problem in document.problems:
            say(problem.render(document.file))
    if document.workflow is None:
        if args.json:
            print_json({"status": "invalid", "problems": list(problems_as_data(document))})
        return exits.WRONG_INPUT
    return _show(args, document, _prepare(args, document, document.workflow))


def _is_file(name: str) -> bool:
    """Names of workflows have no slash; what looks like a document is one, even if it isn't there."""
    # Not Path.is_file, which raises in a folder that may not be read: in a container, a checkout of another user.
    looks_like_one = name in ("-", ".", "..") or "/" in name or name.endswith((".yaml", ".yml"))
    return looks_like_one or os.path.isfile(name)  # noqa: PTH113


def _only_by_name(args: argparse.Namespace) -> list[str]:
    names = ("url", "data", "detach", "wait", "priority", "idempotency_key")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) not in (None, False)]


def _prepare(args: argparse.Namespace, document: Loaded, workflow: Workflow) -> Prepared:
    if args.model:
        workflow = with_model(workflow, args.model)
    inputs = read_inputs(workflow, args.input, args.inputs)
    replies = replies_for(workflow, Path(document.file).parent)
    prepared = Prepared(workflow, inputs, ScriptedModel(replies) if replies is not None else None)
    check_keys(prepared.settings, os.environ, _referenced_files())
    return prepared


def _referenced_files() -> Path | None:
    """The folder that an executor would be told by the same variable."""
    named = os.environ.get("FLOWYARD_REFERENCED_FILES")
    return Path(named) if named else None


def _show(args: argparse.Namespace, document: Loaded, prepared: Prepared) -> int:
    summary = RunSummary()
    wants_tokens = args.stream or (not args.json and sys.stderr.isatty())
    with open_progress(quiet=args.json and not args.stream, stream=args.stream) as progress:
        code = asyncio.run(_run(prepared, summary, progress, stream=wants_tokens))
    if args.json:
        print_json({**result_as_data(summary), "warnings": list(problems_as_data(document))})
    else:
        print_result(summary)
    return code


async def _run(prepared: Prepared, summary: RunSummary, progress: Progress, *, stream: bool) -> int:
    """The run's exit code. Ctrl-C and SIGTERM cancel the run; what it had done by then is in `summary`."""
    # Inline: LangGraph takes 0.7 s to import, which nobody should wait for to read that an input is missing.
    with quick_imports():
        from flowyard.graph.compile import compile_workflow  # noqa: PLC0415
        from flowyard.graph.run import run_workflow  # noqa: PLC0415

    def emit(event: Event) -> None:
        summary.add(event, time.perf_counter())
        progress.show(event)

    terminated = _cancel_on_sigterm()
    try:
        async with open_models(os.environ, scripted=prepared.scripted, files=_referenced_files()) as models:
            # What can't be opened now is told by the run itself, which may have a fallback for it.
            with suppress(ModelError):
                await models.prepare(prepared.settings)
            result = await run_workflow(
                compile_workflow(prepared.workflow),
                prepared.inputs,
                run_id=str(uuid7(time.time_ns() // 1_000_000, secrets.token_bytes(10))),
                model=models,
                emit=emit,
                stream=stream,
                terms=models.terms,
            )
    except asyncio.CancelledError:
        if summary.status is None:
            emit(RunFinished("cancelled", 0.0, {}))
        # The process ends here: whoever cancelled this task was a signal, and the exit code tells of it.
        return exits.TERMINATED if terminated.is_set() else exits.CANCELLED
    return exits.OK if result.status == "succeeded" else exits.RUN_FAILED


def _cancel_on_sigterm() -> asyncio.Event:
    """SIGINT is asyncio's own business; SIGTERM does the same here. The event tells them apart."""
    terminated = asyncio.Event()
    task = asyncio.current_task()

    def cancel() -> None:
        terminated.set()
        if task is not None:
            task.cancel()

    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel)
    return terminated
