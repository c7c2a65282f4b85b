"""Applies a document, or restores an older one."""

from __future__ import annotations

import logging
from typing import Any, Final

from flowyard.api.workflows import Applied, Validated
from flowyard.bus.messages import WorkflowChanged
from flowyard.errors.requests import InvalidRequest
from flowyard.language.load import Loaded
from flowyard.language.reading.source import decode
from flowyard.language.workflow import Workflow
from flowyard.service.documents import valid_workflow
from flowyard.storage.workflows import Revision
from flowyard_registry.documents import document_problems, read_again, read_document
from flowyard_registry.parts import RegistryParts

log = logging.getLogger(__name__)

_LARGEST: Final = 2**31 - 1


async def apply_document(parts: RegistryParts, name: str, body: bytes, *, file: str) -> Applied:
    """Makes the document the workflow's current revision. Raises InvalidDocument, InvalidRequest, TooBusy."""
    loaded = await read_document(parts.checks, body, file, parts.settings.installation)
    workflow = valid_workflow(loaded)
    if workflow.name != name:
        message = (
            f"the document describes the workflow '{workflow.name}', not '{name}': change flow.name or the address"
        )
        raise InvalidRequest([{"where": "path.name", "message": message}])
    revision, is_new = await parts.workflows.apply(
        name, digest=workflow.digest, document=decode(body), **_limits(workflow)
    )
    return _applied(parts, revision, loaded, is_new=is_new)


async def roll_back(parts: RegistryParts, name: str, number: int) -> Applied:
    """Raises UnknownWorkflow, UnknownRevision, TooBusy; InvalidDocument if this version refuses what was accepted."""
    loaded = await read_again(parts.checks, await parts.workflows.revision(name, number), parts.settings.installation)
    revision, is_new = await parts.workflows.roll_back(name, number, **_limits(valid_workflow(loaded)))
    return _applied(parts, revision, loaded, is_new=is_new)


async def validate(parts: RegistryParts, body: bytes, *, file: str) -> Validated:
    """Checks a document without applying it. Raises InvalidRequest if there is none, TooBusy."""
    if not body:
        raise InvalidRequest([{"where": "body", "message": "the document is missing"}])
    loaded = await read_document(parts.checks, body, file, parts.settings.installation)
    name = loaded.workflow.name if loaded.workflow is not None else None
    return Validated(valid=name is not None, name=name, problems=document_problems(file, loaded.problems))


def _limits(workflow: Workflow) -> dict[str, Any]:
    """The limits of the workflow's runs, within the range of the database's integers."""
    concurrency = workflow.execution.concurrency
    limit = None if concurrency is None else min(concurrency, _LARGEST)
    return {"concurrency": limit, "priority": workflow.execution.priority}


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
