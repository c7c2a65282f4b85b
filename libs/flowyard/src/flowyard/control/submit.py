"""Submit a run: it is on disk when this returns."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flowyard.bus.messages import WorkQueued
from flowyard.control.parts import Control
from flowyard.control.secret_inputs import box_for, new_inputs, sealed
from flowyard.errors import TooLarge
from flowyard.ids import uuid7
from flowyard.language.workflow import Workflow
from flowyard.runs.run import NewRun
from flowyard.storage.database import dumps


@dataclass(frozen=True, slots=True)
class Once:
    """A request that may come twice and must lead to one run. `key`: the caller's; `owner`: whose key it is.

    `asked`: all that was asked for, as JSON.
    """

    owner: str
    key: str
    asked: Any

    @property
    def scoped_key(self) -> str:
        return f"{self.owner}:{self.key}"

    @property
    def content(self) -> bytes:
        """What was asked for, however it was spelled."""
        return json.dumps(self.asked, sort_keys=True, separators=(",", ":")).encode()

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the content. Only of one without secrets: they could be guessed."""
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True, slots=True)
class Submission:
    """`priority`: None is as the workflow says."""

    workflow: str
    inputs: Mapping[str, Any]
    priority: int | None = None
    once: Once | None = None


def new_run_id() -> UUID:
    return uuid7(time.time_ns() // 1_000_000, secrets.token_bytes(10))


async def submit_run(control: Control, wanted: Submission, *, run_id: UUID) -> tuple[UUID, bool]:
    """The run's id, and whether it is new: not `run_id` and not new if the same request has come before.

    Raises UnknownWorkflow, InvalidDocument, InvalidInputs, TooLarge, QueueFull, IdempotencyMismatch,
    SecretsNotConfigured.
    """
    if (before := await answered(control, wanted.once)) is not None:
        return before, False
    current = await control.documents.current(wanted.workflow)
    workflow, execution = current.workflow, current.workflow.execution
    inputs = small_enough(new_inputs(workflow, wanted.inputs), "the inputs", control.inputs_limit)
    run = NewRun(
        run_id,
        wanted.workflow,
        current.revision,
        current.definition,
        sealed(control, workflow, inputs),
        execution.priority if wanted.priority is None else wanted.priority,
        execution.max_attempts,
        execution.timeout,
        **asked(control, workflow, wanted.once),
    )
    return await enqueue(control, run)


async def answered(control: Control, once: Once | None) -> UUID | None:
    """The run that the same request has led to. It comes first: what was fine then may not be so any more."""
    if once is None:
        return None
    marks = control.box.marks(once.content) if control.box is not None else ()
    return await control.runs.by_idempotency_key(once.scoped_key, {once.fingerprint, *marks})


async def enqueue(control: Control, run: NewRun, *, steps_before: int | None = None) -> tuple[UUID, bool]:
    """The run's id, and whether it is new. Raises QueueFull, UnknownWorkflow, IdempotencyMismatch."""
    await control.queue.enter()
    # Saved first: a lost message is found again by a poll, a lost row is not.
    run_id, is_new = await control.runs.add(run, steps_before=steps_before)
    if is_new:
        control.metrics.runs.submitted.labels(run.workflow).inc()
        control.bus.publish(WorkQueued())
    return run_id, is_new


def small_enough(values: dict[str, Any], what: str, limit: int) -> dict[str, Any]:
    """Counted in the bytes of UTF-8, as a client sends them. Raises TooLarge."""
    # As it is stored it is ASCII, and never shorter: nearly always that settles it.
    if len(dumps(values)) > limit and _utf8_bytes(values) > limit:
        raise TooLarge(what, limit=limit)
    return values


def _utf8_bytes(values: dict[str, Any]) -> int:
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return len(text.encode(errors="surrogatepass"))


def asked(control: Control, workflow: Workflow, once: Once | None) -> dict[str, Any]:
    """By what the request is known again. Raises SecretsNotConfigured."""
    if once is None:
        return {}
    fingerprint = box_for(control, workflow).marks(once.content)[0] if workflow.secrets else once.fingerprint
    return {"key": once.scoped_key, "fingerprint": fingerprint}
