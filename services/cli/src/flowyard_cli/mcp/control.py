"""Tools with which an assistant writes, applies, runs and inspects workflows. Each is one or a few calls of the API."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field

from flowyard.access import Scope
from flowyard.api.client import Client
from flowyard.api.drafts import DraftRequest
from flowyard.api.runs import RunRequest
from flowyard.errors.requests import InvalidInputs
from flowyard.runs.run import State
from flowyard_cli.commands.assistant import guide_for

LONGEST_WAIT_S: Final = 50
"""Many clients give up a call after a minute."""
_MOST_LISTED: Final = 100
_MOST_EVENTS: Final = 200
Run: TypeAlias = Annotated[UUID, Field(description="The id of a run")]
Workflow: TypeAlias = Annotated[str, Field(description="The name of a workflow")]
Document: TypeAlias = Annotated[str, Field(max_length=1_000_000, description="A whole document, as YAML")]
Limit: TypeAlias = Annotated[int, Field(ge=1, le=_MOST_LISTED, description="How many to return at most")]


class Arguments(BaseModel, extra="forbid", frozen=True):
    """The arguments of a call. An unknown one is an error."""


class OfDocument(Arguments):
    document: Document


class OfWorkflow(Arguments):
    name: Workflow


class OfRevision(OfWorkflow):
    revision: Annotated[int, Field(ge=1, description="The number of the revision to return to")]


class Deletion(OfWorkflow):
    force: Annotated[bool, Field(description="Cancel runs that haven't ended, instead of refusing")] = False


class RunStart(Arguments):
    workflow: Workflow
    inputs: Annotated[dict[str, Any], Field(description="The inputs by their names: see get_workflow")] = {}
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for the run's end")] = 0


class OfRun(Arguments):
    run_id: Run


class RunSearch(Arguments):
    workflow: Annotated[str | None, Field(description="Only runs of this workflow")] = None
    status: Annotated[list[State], Field(description="Only runs with one of these; empty: with any")] = []
    limit: Limit = 20


class WorkflowSearch(Arguments):
    search: Annotated[str | None, Field(description="A part of the name")] = None
    limit: Limit = _MOST_LISTED


class Latest(Arguments):
    limit: Limit = 20


class Nothing(Arguments):
    """A tool without arguments."""


@dataclass(frozen=True, slots=True)
class ControlTool:
    """`work` gets the arguments as an `arguments`, and returns what JSON can hold; it raises FlowyardError.

    `scope`: what the key must be for. `changes`: whether the call changes something; `destroys`: not to be undone.
    """

    name: str
    description: str
    scope: Scope
    arguments: type[Arguments]
    work: Callable[[Client, Any], Any]
    changes: bool = False
    destroys: bool = False

    @property
    def described(self) -> Mapping[str, Any]:
        """As `tools/list` has it."""
        annotations = {"readOnlyHint": not self.changes, "destructiveHint": self.destroys, "openWorldHint": False}
        schema = self.arguments.model_json_schema()
        schema.pop("title", None)
        return {"name": self.name, "description": self.description, "inputSchema": schema, "annotations": annotations}


def _guide(_: Client, __: Nothing) -> str:
    return guide_for(os.environ)


def _validate(client: Client, given: OfDocument) -> Any:
    return _data(client.draft(DraftRequest(text=given.document)))


def _apply(client: Client, given: OfDocument) -> Any:
    document = given.document.encode()
    checked = client.validate(document)
    if checked.name is None:
        problems = [f"{p.line}:{p.column}: {p.message}" for p in checked.problems if p.severity == "error"]
        raise InvalidInputs(problems or ["the document isn't valid"])
    return _data(client.apply(checked.name, document))


def _workflows(client: Client, given: WorkflowSearch) -> Any:
    return _list(client.workflows(search=given.search, most=given.limit))


def _workflow(client: Client, given: OfWorkflow) -> Any:
    return _data(client.workflow(given.name))


def _roll_back(client: Client, given: OfRevision) -> Any:
    return _data(client.roll_back(given.name, given.revision))


def _delete(client: Client, given: Deletion) -> Any:
    return _data(client.delete_workflow(given.name, force=given.force))


def _run(client: Client, given: RunStart) -> Any:
    return _data(client.submit(given.workflow, RunRequest(inputs=given.inputs), wait_s=given.wait))


def _runs(client: Client, given: RunSearch) -> Any:
    return _list(client.runs(workflow=given.workflow, status=given.status, most=given.limit))


def _inspect(client: Client, given: OfRun) -> Any:
    run = client.whole_run(given.run_id)
    events = client.events(given.run_id, after=max(0, run.last_seq - _MOST_EVENTS))
    return {
        "run": _data(run),
        "steps": _list(client.steps(given.run_id))["items"],
        "model_calls": _list(client.calls(given.run_id))["items"],
        "events": _list(events)["items"],
    }


def _cancel(client: Client, given: OfRun) -> Any:
    return _data(client.cancel(given.run_id))


def _retry(client: Client, given: OfRun) -> Any:
    return _data(client.retry(given.run_id))


def _keys(client: Client, _: Nothing) -> Any:
    return _list(client.keys())


def _audit(client: Client, given: Latest) -> Any:
    return _list(client.audit(most=given.limit))


def _data(answer: BaseModel) -> Any:
    return answer.model_dump(mode="json", exclude_none=True)


def _list(answers: Any) -> Any:
    return {"items": [_data(each) for each in answers]}


CONTROL_TOOLS: Final = (
    ControlTool(
        "language_guide",
        "How workflows are written: the keys of documents, with examples. Read it before you write one.",
        "read", Nothing, _guide,
    ),
    ControlTool(
        "validate_workflow",
        "Checks a document: its problems with lines, its graph, what a run may cost at most, and its tests, which run "
        "with canned replies. Nothing is stored, no model is called.",
        "read", OfDocument, _validate,
    ),
    ControlTool("list_workflows", "The workflows that are applied.", "read", WorkflowSearch, _workflows),
    ControlTool(
        "get_workflow", "A workflow: its document, its inputs with their JSON Schemas, its graph.",
        "read", OfWorkflow, _workflow,
    ),
    ControlTool("list_runs", "The newest runs, with status, error and cost.", "read", RunSearch, _runs),
    ControlTool(
        "inspect_run",
        "What became of a run: inputs, outputs, error, each step, each call of a model with tokens and cost, and its "
        f"last {_MOST_EVENTS} events.",
        "read", OfRun, _inspect,
    ),
    ControlTool(
        "run_workflow",
        "Runs a workflow. Answers with the run as it is when it has ended, or when `wait` is over: then inspect_run "
        "says how it goes on.",
        "run", RunStart, _run, changes=True,
    ),
    ControlTool("cancel_run", "Cancels a run that hasn't ended.", "run", OfRun, _cancel, changes=True, destroys=True),
    ControlTool(
        "retry_run", "Goes on with a failed run: steps that have succeeded aren't repeated.",
        "run", OfRun, _retry, changes=True,
    ),
    ControlTool(
        "apply_workflow",
        "Applies a document: a new workflow, or a new revision of the one with its name. Validate it before.",
        "write", OfDocument, _apply, changes=True,
    ),
    ControlTool(
        "roll_back_workflow", "Makes an older revision of a workflow the current one.",
        "write", OfRevision, _roll_back, changes=True,
    ),
    ControlTool(
        "delete_workflow", "Deletes a workflow, with its triggers.",
        "write", Deletion, _delete, changes=True, destroys=True,
    ),
    ControlTool("list_keys", "The API keys: names, scopes, last use; never their secrets.", "admin", Nothing, _keys),
    ControlTool("list_acts", "Who did what: the newest entries of the audit log.", "admin", Latest, _audit),
)  # fmt: skip
