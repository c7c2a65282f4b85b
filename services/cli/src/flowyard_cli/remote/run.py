"""`flowyard run NAME`: a run of a workflow of the stack."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from flowyard.api.client import Client
from flowyard.api.refusals import Refused
from flowyard.api.runs import ReceiverRequest, RunRequest, RunView
from flowyard.api.workflows import WorkflowDetail
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs, UnknownWorkflow
from flowyard.language.addresses import url_fault
from flowyard.language.problems import did_you_mean
from flowyard.runs.run import OPEN
from flowyard_cli import exits
from flowyard_cli.commands.run import RunArgs
from flowyard_cli.remote.address import NoStack
from flowyard_cli.remote.inputs import inputs_for
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.remote.watching import (
    leave,
    print_next_commands,
    result_of,
    show_result,
    show_submitted,
    wants_tokens,
    watch,
)
from flowyard_cli.show.tables import as_data
from flowyard_embedded.streams import print_json, say


class NothingToRun(FlowyardError, code=UnknownWorkflow.code):
    """Neither a file nor a workflow of the stack has this name."""

    def __init__(self, name: str, where: str, *, known: Iterable[str] = ()) -> None:
        files = [path for path in (f"{name}.yaml", f"{name}.yml") if Path(path).is_file()]
        hint = f"did you mean '{files[0]}'?" if files else did_you_mean(name, known)
        super().__init__(f"no file '{name}' here, and {where}" + (f" ({hint})" if hint else ""))


def run_by_name(args: RunArgs) -> int:
    def reworded(error: FlowyardError) -> FlowyardError:
        where = "no stack is running that could have such a workflow: start one with `flowyard up`, or set FLOWYARD_URL"
        return NothingToRun(args.file, where) if isinstance(error, NoStack) else error

    return at_the_stack(_run, args, reworded=reworded)


def _run(client: Client, args: RunArgs) -> int:
    if args.model:
        raise InvalidInputs([f"--model: only a FILE can run with another model; '{args.file}' is a workflow's name"])
    workflow = _workflow(client, args.file)
    inputs = inputs_for(workflow, args.given, args.inputs)
    stream = not args.detach and args.wait is None and wants_tokens(args)
    receivers = [_receiver(url) for url in args.on_finish] or None
    request = RunRequest(inputs=inputs, priority=args.priority, stream=stream, on_finish=receivers)
    once = args.idempotency_key or str(uuid4())
    run = client.submit(workflow.name, request, once=once)
    if args.detach:
        return show_submitted(args, run)
    if args.wait is None:
        return watch(client, args, run)
    try:
        # The same request again, which only waits: so the run's id is known if Ctrl-C leaves it.
        run = client.submit(workflow.name, request, once=once, wait_s=args.wait) if args.wait else run
    except KeyboardInterrupt:
        return leave(args, run)
    return _waited(client, args, run)


def _receiver(url: str) -> ReceiverRequest:
    if (fault := url_fault(url)) is not None:
        raise InvalidInputs([f"--on-finish: the URL {fault}"])
    return ReceiverRequest(url=url)


def _workflow(client: Client, name: str) -> WorkflowDetail:
    try:
        return client.workflow(name)
    except Refused as error:
        if error.code != UnknownWorkflow.code:
            raise
        known = [workflow.name for workflow in client.workflows(most=200)]
        raise NothingToRun(name, f"no workflow of this name at {client.url}", known=known) from error


def _waited(client: Client, args: RunArgs, run: RunView) -> int:
    if run.status not in OPEN:
        return show_result(args, run, result_of(client, run))
    if args.json:
        print_json(as_data(run))
    else:
        say(f"flowyard: run {run.id} is still {run.status} after {args.wait:g} s")
        print_next_commands(args, run)
    return exits.STACK_FAILED
