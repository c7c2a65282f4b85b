"""Puts workflows and queued runs into a database, as registry and gateway do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flowyard.ids import uuid7
from flowyard.language.load import load_text
from flowyard.runs.run import NewRun
from flowyard.storage.database import Database
from flowyard.storage.runs import Runs
from flowyard.storage.triggers import trigger_rows
from flowyard.storage.workflows import Head, Revision, Workflows


def new_id() -> UUID:
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


async def apply(database: Database, document: str) -> Revision:
    """Fails the test if the document has problems."""
    loaded = load_text(document, "test.yaml")
    workflow = loaded.workflow
    assert workflow is not None, [problem.render("test.yaml") for problem in loaded.problems]
    revision, _ = await Workflows(database).apply(
        workflow.name,
        digest=workflow.digest,
        document=document,
        concurrency=workflow.execution.concurrency,
        priority=workflow.execution.priority,
        triggers=trigger_rows(workflow),
    )
    return revision


def new_run(revision: Head, *, inputs: Mapping[str, Any] | None = None, **about: Any) -> NewRun:
    """`about`: fields of NewRun that are not as usual."""
    usual: dict[str, Any] = {"id": new_id(), "priority": 0, "max_attempts": 3, "timeout_s": None, "on_finish": ()}
    return NewRun(
        workflow=revision.workflow,
        revision=revision.number,
        definition=revision.definition,
        inputs=inputs or {},
        **{**usual, **about},
    )


async def submit(database: Database, workflow: str, **about: Any) -> UUID:
    """A run of the workflow's current revision. `about`: as for `new_run`."""
    revision = await Workflows(database).head(workflow)
    return (await Runs(database).add(new_run(revision, **about)))[0]
