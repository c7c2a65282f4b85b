"""Submits a run: it is on disk when this returns."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypedDict
from uuid import UUID

from flowyard.access import Actor
from flowyard.bus.messages import RunFollowed
from flowyard.containers import MOST_CONTAINERS, count_containers
from flowyard.control.parts import Control
from flowyard.control.secret_inputs import box_for, new_inputs, seal_inputs
from flowyard.errors.requests import InvalidInputs, TooDense, TooLarge
from flowyard.errors.runs import SecretsNotConfigured
from flowyard.ids import uuid7
from flowyard.language.inputs import are_large
from flowyard.language.on_finish import Receiver
from flowyard.language.workflow import Workflow
from flowyard.runs.run import NewRun, Step
from flowyard.service.documents import Current
from flowyard.storage.database import dumps


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The key of a request that may be sent twice and must lead to one run. `owner`: the id of the sender's API key.

    `request`: all that the request says, as JSON.
    """

    owner: str
    key: str
    request: Any

    @property
    def scoped_key(self) -> str:
        return f"{self.owner}:{self.key}"

    @property
    def content(self) -> bytes:
        """The request, the same for every order of its keys."""
        return json.dumps(self.request, sort_keys=True, separators=(",", ":")).encode()

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the content. Only of a request without secrets: they could be guessed."""
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """`priority`: None for the workflow's own. `stream`: somebody is about to follow the run's tokens.

    `by`: for the audit log; None: nothing is written down. `on_finish`: the caller's receivers, besides those of the
    document.
    """

    workflow: str
    inputs: Mapping[str, Any]
    priority: int | None = None
    idempotency: IdempotencyKey | None = None
    stream: bool = False
    by: Actor | None = None
    on_finish: tuple[Receiver, ...] = ()


class IdempotencyColumns(TypedDict, total=False):
    key: str
    fingerprint: bytes


def new_run_id() -> UUID:
    return uuid7(time.time_ns() // 1_000_000, secrets.token_bytes(10))


async def submit_run(control: Control, submission: Submission, *, run_id: UUID) -> tuple[UUID, bool]:
    """Returns the run's id and whether the run is new. If the same request came before, it is that run's id, and False.

    Raises UnknownWorkflow, InvalidDocument, InvalidInputs, TooLarge, QueueFull, IdempotencyMismatch,
    SecretsNotConfigured.
    """
    if (earlier := await find_earlier_run(control, submission.idempotency)) is not None:
        return earlier, False
    if (last := control.documents.last(submission.workflow)) is not None:
        # Its current revision nearly always still is that. What doesn't fit it may fit a newer one.
        with suppress(InvalidInputs, TooLarge, SecretsNotConfigured):
            if (added := await _submit(control, submission, last, run_id)) is not None:
                return added
    while True:
        current = await control.documents.current(submission.workflow)
        if (added := await _submit(control, submission, current, run_id)) is not None:
            return added


async def _submit(control: Control, submission: Submission, current: Current, run_id: UUID) -> tuple[UUID, bool] | None:
    """None if `current` isn't the workflow's current revision any more."""
    workflow, execution = current.workflow, current.workflow.execution
    inputs = await checked_inputs(control, workflow, submission.inputs)
    run = NewRun(
        id=run_id,
        workflow=submission.workflow,
        revision=current.revision,
        definition=current.definition,
        inputs=seal_inputs(control, workflow, inputs),
        priority=execution.priority if submission.priority is None else submission.priority,
        max_attempts=execution.max_attempts,
        timeout_s=execution.timeout,
        on_finish=(*workflow.on_finish, *submission.on_finish),
        **idempotency_columns(control, workflow, submission.idempotency),
    )
    async with control.queue.room():
        if submission.stream:
            await announce_follower(control, run_id)
        # Saved first: a lost message is made up for by a poll, a lost row is not.
        added = await control.runs.add_current(run, by=submission.by)
    if added is not None and added[1]:
        announce(control, run)
    return added


async def checked_inputs(control: Control, workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a new run, not yet sealed. Raises InvalidInputs, TooLarge."""

    def check() -> dict[str, Any]:
        inputs = new_inputs(workflow, given)
        check_size(inputs, "the inputs", control.inputs_limit)
        return inputs

    return await asyncio.to_thread(check) if are_large(given) else check()


async def find_earlier_run(control: Control, idempotency: IdempotencyKey | None) -> UUID | None:
    """The run that the same request has led to. Looked for before any check: what was valid then may not be now."""
    if idempotency is None:
        return None
    marks = control.box.marks(idempotency.content) if control.box is not None else ()
    return await control.runs.by_idempotency_key(idempotency.scoped_key, {idempotency.fingerprint, *marks})


async def enqueue(
    control: Control,
    run: NewRun,
    *,
    steps_before: int | None = None,
    steps: Sequence[Step] = (),
    by: Actor | None = None,
) -> tuple[UUID, bool]:
    """Queues a fork without the checks of `submit_run`. Raises QueueFull, UnknownWorkflow, IdempotencyMismatch.

    `steps_before`: it copies the steps of its origin that ended before event `seq`; `steps`: or just these.
    """
    async with control.queue.room():
        run_id, is_new = await control.runs.add(run, steps_before=steps_before, steps=steps, by=by)
    if is_new:
        announce(control, run)
    return run_id, is_new


async def announce_follower(control: Control, run_id: UUID) -> None:
    """Somebody will read the tokens of this run. To be called before the run can be claimed: executors look when a call
    begins whether somebody does, and the follower itself comes too late for the first one.
    """
    await control.bus.deliver(RunFollowed(run_id=run_id))


def announce(control: Control, run: NewRun) -> None:
    control.metrics.runs.submitted.labels(run.workflow).inc()
    control.work_bell.ring()


def check_size(values: dict[str, Any], what: str, limit: int) -> None:
    """Raises TooLarge if the values have more than `limit` bytes as JSON in UTF-8, which is how a client sends them;
    TooDense if they have too many lists and objects. `what`: in the plural.
    """
    text = dumps(values)
    # They are stored in ASCII, which is never shorter: nearly always that settles it.
    if len(text) > limit and _utf8_bytes(values) > limit:
        raise TooLarge(what, limit=limit)
    if (count := count_containers(text)) > MOST_CONTAINERS:
        raise TooDense(what, count, limit=MOST_CONTAINERS, verb="have")


def _utf8_bytes(values: dict[str, Any]) -> int:
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return len(text.encode(errors="surrogatepass"))


def idempotency_columns(control: Control, workflow: Workflow, idempotency: IdempotencyKey | None) -> IdempotencyColumns:
    """The idempotency columns of the run's row; empty if the caller sent no key. Raises SecretsNotConfigured."""
    if idempotency is None:
        return {}
    has_secrets = bool(workflow.secrets)
    marks = box_for(control, workflow).marks(idempotency.content) if has_secrets else [idempotency.fingerprint]
    return {"key": idempotency.scoped_key, "fingerprint": marks[0]}
