"""Reads values from the command line by the types of a workflow's fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowyard.api.client import Client
from flowyard.api.runs import ForkPoint, RunView
from flowyard.api.workflows import WorkflowDetail
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs
from flowyard.language.inputs import input_from_text
from flowyard.language.load import load_text
from flowyard.language.workflow import Workflow
from flowyard_cli.reading import read_inputs


class OtherVersion(FlowyardError, code="other_version"):
    """This command line can't read a document of the stack."""

    def __init__(self, workflow: str) -> None:
        super().__init__(
            f"this version of flowyard can't load workflow '{workflow}', but the stack can: use the stack's version"
        )


def inputs_for(workflow: WorkflowDetail, given: Sequence[str], file: str | None) -> dict[str, Any]:
    """The inputs that `read_inputs` returns, and raises; also raises OtherVersion."""
    return read_inputs(_read(workflow.name, workflow.document), given, file)


def fork_point(text: str) -> ForkPoint:
    """Reads NODE or NODE#VISIT. Raises InvalidInputs."""
    node, _, visit = text.partition("#")
    try:
        return ForkPoint(node=node, visit=int(visit or 1))
    except ValueError as error:
        raise InvalidInputs([f"--from {text}: write NODE, or NODE#VISIT for a later turn of a loop"]) from error


def fields_to_set(client: Client, run: RunView, given: Sequence[str]) -> dict[str, Any]:
    """Reads FIELD=VALUE, by the types in the run's own revision. Raises InvalidInputs, OtherVersion."""
    if not given:
        return {}
    faults = [f"--set {text}: write FIELD=VALUE" for text in given if not text.partition("=")[0] or "=" not in text]
    names = [text.partition("=")[0] for text in given]
    faults += [f"{name}: given twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if faults:
        raise InvalidInputs(faults)
    fields = _read(run.workflow, client.revision(run.workflow, run.revision).document).fields
    texts = {name: text.partition("=")[2] for name, text in zip(names, given, strict=True)}
    return {name: input_from_text(fields[name].type, text) if name in fields else text for name, text in texts.items()}


def _read(name: str, document: str) -> Workflow:
    workflow = load_text(document, name).workflow
    if workflow is None:
        raise OtherVersion(name)
    return workflow
