"""Forks a run: a new run keeps steps of its origin, those before a chosen step or those that fit, and goes on there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from flowyard.access import Actor
from flowyard.control.parts import Control
from flowyard.control.secret_inputs import seal_inputs, without_masked
from flowyard.control.submit import IdempotencyKey, check_size, enqueue, find_earlier_run, idempotency_columns
from flowyard.errors.requests import InvalidInputs, InvalidRequest, UnknownStep
from flowyard.graph.fit import Fit, fit
from flowyard.language.flow import Flow
from flowyard.language.inputs import conform_field, valid_inputs
from flowyard.language.problems import suggest
from flowyard.language.workflow import START, Workflow
from flowyard.runs.events import StepId
from flowyard.runs.run import Change, Fork, NewRun
from flowyard.secrets.masking import hide_sealed
from flowyard.service.documents import Current
from flowyard.storage.runs import ForkOrigin


@dataclass(frozen=True, slots=True)
class Point:
    """The step before which the fork leaves its origin, and the fields of the state that it changes there."""

    node: str
    visit: int = 1
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkOrder:
    """`point` None: the fork keeps the steps that fit `revision` and `inputs`, or starts over if neither is given.

    `revision`: of the workflow; None: the origin's. `inputs` replace the origin's; a secret that is given masked,
    `***`, keeps its value. `by`: for the audit log.
    """

    origin: UUID
    point: Point | None = None
    revision: int | Literal["latest"] | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    idempotency: IdempotencyKey | None = None
    by: Actor | None = None


async def fork_run(control: Control, order: ForkOrder, *, run_id: UUID) -> tuple[UUID, bool]:
    """Returns the fork's id and whether it is new. If the same request came before, it is that run's id, and False.

    The origin may still be running. Raises UnknownRun; UnknownStep for a step that hasn't begun; UnknownRevision,
    InvalidDocument, InvalidRequest, InvalidInputs, TooLarge, QueueFull, IdempotencyMismatch, UnknownWorkflow,
    SecretsNotConfigured.
    """
    if (earlier := await find_earlier_run(control, order.idempotency)) is not None:
        return earlier, False
    origin = await control.runs.fork_origin(order.origin)
    workflow = await control.documents.get(origin.workflow, origin.definition, origin.digest)
    if order.point is None:
        return await _run_again(control, order, origin, workflow, run_id)
    fork = _fork(origin, workflow, order.point)
    steps_before = await _begun_at(control, fork)
    fork = replace(fork, earlier=await _earlier(control, origin, steps_before))
    size = {**hide_sealed(origin.inputs), **fork.state}
    check_size(size, "the fork's inputs and state", control.inputs_limit)
    fork = replace(fork, state=seal_inputs(control, workflow, fork.state))
    target = _Target(workflow, origin.revision, origin.definition, dict(origin.inputs))
    run = _new_run(control, order, origin, target, fork, run_id)
    leaves_at = (str(StepId(fork.node, fork.visit)),)
    return await enqueue(control, replace(run, leaves_at=leaves_at), steps_before=steps_before, by=order.by)


async def preview_fork(control: Control, order: ForkOrder) -> Fit:
    """What a fork without a `point` keeps, and where it leaves its origin. Raises as `fork_run`."""
    origin = await control.runs.fork_origin(order.origin)
    workflow = await control.documents.get(origin.workflow, origin.definition, origin.digest)
    return await _fit(control, origin, workflow, await _target(control, order, origin, workflow))


@dataclass(frozen=True, slots=True)
class _Target:
    """What a fork runs. `inputs`: sealed."""

    workflow: Workflow
    revision: int
    definition: int
    inputs: Mapping[str, Any]


async def _run_again(
    control: Control, order: ForkOrder, origin: ForkOrigin, workflow: Workflow, run_id: UUID
) -> tuple[UUID, bool]:
    target = await _target(control, order, origin, workflow)
    starts_over = order.revision is None and not order.inputs
    fits = Fit((), ()) if starts_over else await _fit(control, origin, workflow, target)
    fork = Fork(origin.run_id, START, 1, {}, () if starts_over else _changes(origin))
    run = _new_run(control, order, origin, target, fork, run_id)
    forked = replace(run, leaves_at=tuple(map(str, fits.leaves_at)))
    return await enqueue(control, forked, steps=fits.kept, by=order.by)


async def _target(control: Control, order: ForkOrder, origin: ForkOrigin, workflow: Workflow) -> _Target:
    current = Current(origin.revision, origin.definition, workflow)
    if order.revision == "latest":
        current = await control.documents.current(origin.workflow)
    elif order.revision is not None:
        current = await control.documents.revision(origin.workflow, order.revision)
    workflow = current.workflow
    changed = without_masked(workflow, order.inputs)
    inputs_of = {name for name, field in workflow.fields.items() if field.is_input}
    known = {name: value for name, value in origin.inputs.items() if name in inputs_of}
    inputs = valid_inputs(workflow, {**known, **changed})
    kept = {name: value for name, value in inputs.items() if name not in changed}
    check_size({**inputs, **hide_sealed(kept)}, "the fork's inputs", control.inputs_limit)
    return _Target(workflow, current.revision, current.definition, seal_inputs(control, workflow, inputs, changed))


async def _fit(control: Control, origin: ForkOrigin, workflow: Workflow, target: _Target) -> Fit:
    fork = Fork(origin.run_id, START, 1, {}, _changes(origin))
    old, new = (workflow, valid_inputs(workflow, origin.inputs)), (target.workflow, target.inputs)
    # One at a time, since a record may take many megabytes, and in a thread, since it takes a part of a second.
    async with control.records:
        record = {step.id: step for step in await control.history.record(origin.run_id)}
        return await asyncio.to_thread(fit, old, new, record, fork.changes_before)


def _changes(origin: ForkOrigin) -> tuple[Change, ...]:
    """What an origin that is a fork itself has changed."""
    fork = origin.fork
    if fork is None:
        return ()
    # A fork from the start changes no step, but may have taken changes over.
    return fork.earlier if fork.node == START else (*fork.earlier, Change(fork.node, fork.visit, fork.state))


def _new_run(
    control: Control, order: ForkOrder, origin: ForkOrigin, target: _Target, fork: Fork, run_id: UUID
) -> NewRun:
    return NewRun(
        id=run_id,
        workflow=origin.workflow,
        revision=target.revision,
        definition=target.definition,
        inputs=target.inputs,
        priority=origin.priority,
        max_attempts=target.workflow.execution.max_attempts,
        timeout_s=target.workflow.execution.timeout,
        fork=fork,
        on_finish=target.workflow.on_finish,
        **idempotency_columns(control, target.workflow, order.idempotency),
    )


def _fork(origin: ForkOrigin, workflow: Workflow, point: Point) -> Fork:
    if point.node not in workflow.nodes:
        raise UnknownStep(point.node, hint=suggest(point.node, workflow.nodes, "nodes"))
    if point.node in workflow.maps:
        hint = "it runs once per item of a map, with the others: fork from the step before"
        raise InvalidRequest([{"where": "from.node", "message": f"no fork begins at '{point.node}': {hint}"}])
    state = _valid_state(workflow, without_masked(workflow, point.state))
    _refuse_parallel_writes(workflow, point.node, state)
    return Fork(origin.run_id, point.node, point.visit, state)


def _refuse_parallel_writes(workflow: Workflow, node: str, state: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a field that a parallel branch writes: one of the two values would be lost."""
    maps = workflow.maps
    for other in sorted(Flow(workflow.nodes, workflow.transitions).parallel_to(node) & workflow.nodes.keys()):
        written = {maps[other].collect_field} if other in maps else {o.field for o in workflow.nodes[other].outputs}
        for name in sorted(written & state.keys()):
            message = f"'{other}', which runs in parallel to '{node}', writes it: fork from a step before the two"
            raise InvalidRequest([{"where": f"state.{name}", "message": message}])


def _valid_state(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """Raises InvalidInputs with all problems."""
    problems: list[str] = []
    state: dict[str, Any] = {}
    for name, value in given.items():
        known = workflow.fields.get(name)
        if known is None:
            problems.append(f"{name}: isn't known ({suggest(name, workflow.fields, 'fields')})")
        else:
            state[name] = conform_field(known, value, problems)
    if problems:
        raise InvalidInputs(problems)
    return state


async def _earlier(control: Control, origin: ForkOrigin, before: int) -> tuple[Change, ...]:
    """The changes of an origin that is a fork itself, up to event `before`: its steps don't show them."""
    made = []
    for change in _changes(origin):
        # A step that the origin hasn't begun doesn't come before the chosen one.
        with suppress(UnknownStep):
            if await control.history.started_at_seq(origin.run_id, change.node, change.visit) <= before:
                made.append(change)
    return tuple(made)


async def _begun_at(control: Control, fork: Fork) -> int:
    try:
        return await control.history.started_at_seq(fork.origin, fork.node, fork.visit)
    except UnknownStep as error:
        raise UnknownStep(error.name, hint=f"run {fork.origin} hasn't begun it") from None
