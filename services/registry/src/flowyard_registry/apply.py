"""Applies a document, or restores an older one."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

from flowyard.access import Actor, Caller
from flowyard.api.workflows import Applied, Validated
from flowyard.bus.messages import WorkflowChanged
from flowyard.errors.requests import InvalidRequest
from flowyard.language.installation import Installation
from flowyard.language.load import Loaded
from flowyard.language.reading.source import decode
from flowyard.language.triggers import OtherWorkflow
from flowyard.language.workflow import Workflow
from flowyard.service.documents import valid_workflow
from flowyard.service.known_tools import with_announced
from flowyard.storage.triggers import trigger_rows
from flowyard.storage.workflows import Revision
from flowyard.web.auth import check_workflow
from flowyard_registry.documents import document_problems, read_again, read_document
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 3.0
_LONG_PATIENCE_S: Final = 12.0
"""If NATS is there, but slow."""
_LARGEST: Final = 2**31 - 1


async def apply_document(
    parts: RegistryParts, name: str, body: bytes, *, file: str, caller: Caller, by: Actor
) -> Applied:
    """Makes the document the workflow's current revision.

    Raises InvalidDocument, InvalidRequest, NotForKey, PathTaken, TooBusy.
    """
    loaded = await read_document(parts.checks, body, file, await installation_of(parts, caller))
    workflow = valid_workflow(loaded)
    if workflow.name != name:
        message = (
            f"the document describes the workflow '{workflow.name}', not '{name}': change flow.name or the address"
        )
        raise InvalidRequest([{"where": "path.name", "message": message}])
    _check_sources(caller, workflow)
    revision, is_new = await parts.workflows.apply(
        name, digest=workflow.digest, document=decode(body), **_facts(workflow), by=by
    )
    await _connect(parts, workflow, is_new=is_new)
    return _applied(parts, revision, loaded, is_new=is_new)


async def roll_back(parts: RegistryParts, name: str, number: int, *, caller: Caller, by: Actor) -> Applied:
    """Raises UnknownWorkflow, UnknownRevision, NotForKey, PathTaken, TooBusy.

    InvalidDocument: this version refuses what was accepted.
    """
    installation = await installation_of(parts, caller)
    loaded = await read_again(parts.checks, await parts.workflows.revision(name, number), installation)
    workflow = valid_workflow(loaded)
    _check_sources(caller, workflow)
    revision, is_new = await parts.workflows.roll_back(name, number, **_facts(workflow), by=by)
    await _connect(parts, workflow, is_new=is_new)
    return _applied(parts, revision, loaded, is_new=is_new)


async def validate(parts: RegistryParts, body: bytes, *, file: str, caller: Caller) -> Validated:
    """Checks a document without applying it. Raises InvalidRequest if there is none, TooBusy."""
    if not body:
        raise InvalidRequest([{"where": "body", "message": "the document is missing"}])
    loaded = await read_document(parts.checks, body, file, await installation_of(parts, caller))
    name = loaded.workflow.name if loaded.workflow is not None else None
    return Validated(valid=name is not None, name=name, problems=document_problems(file, loaded.problems))


async def _connect(parts: RegistryParts, workflow: Workflow, *, is_new: bool) -> None:
    """Triggers by messages are live when this returns; but not while NATS is away, when nobody can send any."""
    if is_new and any(trigger.source.kind == "nats" for trigger in workflow.triggers.values()):
        is_done = await parts.rounds.next(_PATIENCE_S)
        if not is_done and parts.bus.connected:
            await parts.rounds.next(_LONG_PATIENCE_S)


def _check_sources(caller: Caller, workflow: Workflow) -> None:
    """A workflow that is started by the ends of another one's runs reads their outputs. Raises NotForKey."""
    for trigger in workflow.triggers.values():
        if isinstance(trigger.source, OtherWorkflow):
            check_workflow(caller, trigger.source.name)


async def installation_of(parts: RegistryParts, caller: Caller) -> Installation:
    """A key for some workflows isn't warned of chains: a warning names the others."""
    installation = await installation_with_tools(parts)
    if caller.workflows is not None:
        return installation
    return replace(installation, chains=await parts.triggers.chains())


async def installation_with_tools(parts: RegistryParts) -> Installation:
    """With those that executors have announced."""
    return with_announced(parts.settings.installation, await parts.announced_tools.read())


def _facts(workflow: Workflow) -> dict[str, Any]:
    """What is stored of a document besides its text. Limits are within the range of the database's integers."""
    concurrency = workflow.execution.concurrency
    limit = None if concurrency is None else min(concurrency, _LARGEST)
    return {"concurrency": limit, "priority": workflow.execution.priority, "triggers": trigger_rows(workflow)}


def _applied(parts: RegistryParts, revision: Revision, loaded: Loaded, *, is_new: bool) -> Applied:
    name = revision.workflow
    if is_new:
        parts.bus.publish(WorkflowChanged(name=name))
        facts = {"revision": revision.number, "digest": revision.digest, "restores": revision.restores}
        log.info("workflow applied", extra={"workflow": name, **facts})
    return Applied(
        name=name,
        revision=revision.number,
        digest=revision.digest,
        created=is_new,
        restores=revision.restores,
        warnings=document_problems(loaded.file, loaded.warnings),
    )
