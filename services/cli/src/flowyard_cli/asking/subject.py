"""The run that a question is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flowyard.api.client import Client
from flowyard.api.runs import RunView
from flowyard.errors.requests import UnknownRun
from flowyard.runs.run import State
from flowyard_cli.asking.preparing import NAME
from flowyard_cli.remote.ids import find_run

LAST: Final = "last"
_UUID: Final = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_NAMED: Final = re.compile(rf"\brun[\s:#]+`?({_UUID}|[0-9a-f-]{{6,36}})\b", re.IGNORECASE)
_ID: Final = re.compile(rf"(?<![\w-])({_UUID}|[0-9a-f]{{6,32}})(?![\w-])", re.IGNORECASE)
_FAILED: Final = re.compile(r"\b(fail\w*|error\w*|wrong|crash\w*|br(?:ea|o)k\w*)\b", re.IGNORECASE)
_MOST_WORKFLOWS: Final = 500
_LOOKED_THROUGH: Final = 50


@dataclass(frozen=True, slots=True)
class Subject:
    """`why`: how it was chosen, for people."""

    run: RunView
    why: str


def find_subject(client: Client, question: str, given: str | None) -> Subject:
    """The run `given` (an id, its beginning, or `last`), else the one that the question names, else the last one that
    fits: of the workflow that it names, and, if it is about a failure, one that has failed.

    Raises UnknownRun, AmbiguousRun.
    """
    if given is not None and given != LAST:
        return Subject(client.run(find_run(client, given)), "given by --run")
    if given is None and (text := _id_in(client, question)) is not None:
        return Subject(client.run(find_run(client, text)), "named in the question")
    workflow = _workflow_in(client, question)
    of = f" of {workflow}" if workflow is not None else ""
    if _FAILED.search(question) and (run := _newest(client, workflow, ("failed",))) is not None:
        return Subject(run, f"the last run{of} that has failed")
    if (run := _newest(client, workflow, ())) is not None:
        none = " (none has failed)" if _FAILED.search(question) else ""
        return Subject(run, f"the last run{of}{none}")
    raise UnknownRun(LAST, hint=f"there are no runs{of} yet")


def _id_in(client: Client, question: str) -> str | None:
    """What stands behind the word `run` has to be the id of a run; other texts of such characters may be words."""
    for text in _NAMED.findall(question):
        if re.search(r"\d", text):
            return str(text)
    for text in _ID.findall(question):
        if re.search(r"\d", text) and _is_run(client, text):
            return str(text)
    return None


def _is_run(client: Client, text: str) -> bool:
    try:
        client.run(find_run(client, text))
    except UnknownRun:
        return False
    return True


def _workflow_in(client: Client, question: str) -> str | None:
    """The longest name of a workflow in the question."""
    names = sorted((each.name for each in client.workflows(most=_MOST_WORKFLOWS)), key=len, reverse=True)
    for name in names:
        if name != NAME and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", question, re.IGNORECASE):
            return name
    return None


def _newest(client: Client, workflow: str | None, status: Sequence[State]) -> RunView | None:
    """Without the runs that answer such questions."""
    for run in client.runs(workflow=workflow, status=status, most=_LOOKED_THROUGH):
        if run.workflow != NAME:
            return client.run(run.id)
    return None
