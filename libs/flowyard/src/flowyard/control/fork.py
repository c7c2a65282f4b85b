"""Fork a run: a new one that takes along what its origin had done before some step, and goes on differently."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from flowyard.control.parts import Control
from flowyard.control.secret_inputs import sealed, touched
from flowyard.control.submit import Once, answered, asked, enqueue, small_enough
from flowyard.errors import InvalidInputs, InvalidRequest, UnknownStep
from flowyard.language.flow import Flow
from flowyard.language.inputs import conform_field, valid_inputs
from flowyard.language.problems import suggest
from flowyard.language.workflow import START, Workflow
from flowyard.masking import shown
from flowyard.runs.run import Change, Fork, NewRun
from flowyard.storage.runs import ForkOrigin


@dataclass(frozen=True, slots=True)
class Point:
    """The step before which the fork leaves its origin, and the fields of the state that it changes there."""

    node: str
    visit: int = 1
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForkOrder:
    """`point` None: the fork begins at the start, with `inputs` in place of its origin's.

    A secret that is given as it is shown, `***`, stays what it is.
    """

    origin: UUID
    point: Point | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    once: Once | None = None


async def fork_run(control: Control, wanted: ForkOrder, *, run_id: UUID) -> tuple[UUID, bool]:
    """The new run's id, and whether it is new: not `run_id` and not new if the same request has come before.

    It is of the same revision as its origin, which may still be at work. Raises UnknownRun; UnknownStep for one that
    hasn't begun; InvalidRequest, InvalidInputs, TooLarge, QueueFull, IdempotencyMismatch, UnknownWorkflow,
    SecretsNotConfigured.
    """
    if (before := await answered(control, wanted.once)) is not None:
        return before, False
    origin = await control.runs.fork_origin(wanted.origin)
    workflow = await control.documents.get(origin.workflow, origin.definition, origin.digest)
    if wanted.point is None:
        changed = touched(workflow, wanted.inputs)
        inputs = valid_inputs(workflow, {**origin.inputs, **changed})
        fork, steps_before = Fork(origin.run_id, START, 1, {}), None
    else:
        inputs, changed = dict(origin.inputs), {}
        fork = _fork(origin, workflow, wanted.point)
        steps_before = await _begun_at(control, fork)
        fork = replace(fork, earlier=await _earlier(control, origin, steps_before))
    kept = {name: value for name, value in inputs.items() if name not in changed}
    small_enough({**inputs, **shown(kept), **fork.state}, "the fork's inputs and state", control.inputs_limit)
    fork = replace(fork, state=sealed(control, workflow, fork.state))
    inputs = sealed(control, workflow, inputs, changed)
    run = _new_run(run_id, origin, workflow, inputs, fork, asked(control, workflow, wanted.once))
    return await enqueue(control, run, steps_before=steps_before)


def _fork(origin: ForkOrigin, workflow: Workflow, point: Point) -> Fork:
    if point.node not in workflow.nodes:
        raise UnknownStep(point.node, hint=suggest(point.node, workflow.nodes, "nodes"))
    if point.node in workflow.maps:
        hint = "it runs once per item of a map, with the others: fork from the step before"
        raise InvalidRequest([{"where": "from.node", "message": f"no fork begins at '{point.node}': {hint}"}])
    state = _valid_state(workflow, touched(workflow, point.state))
    _refuse_beside(workflow, point.node, state)
    return Fork(origin.run_id, point.node, point.visit, state)


def _refuse_beside(workflow: Workflow, node: str, state: Mapping[str, Any]) -> None:
    """What a branch beside the step writes can't be changed there: one of the two would be lost."""
    maps = workflow.maps
    for other in sorted(Flow(workflow.nodes, workflow.ways).beside(node) & workflow.nodes.keys()):
        written = {maps[other].collect_field} if other in maps else {o.field for o in workflow.nodes[other].outputs}
        for name in sorted(written & state.keys()):
            message = f"'{other}', which runs beside '{node}', writes it: fork from a step before the two"
            raise InvalidRequest([{"where": f"state.{name}", "message": message}])


def _valid_state(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """Raises InvalidInputs with every fault."""
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
    """What the origin, a fork itself, had changed by then: no step that is taken along tells of it."""
    if origin.fork is None or origin.fork.node == START:
        return ()
    own = Change(origin.fork.node, origin.fork.visit, origin.fork.state)
    made = []
    for change in (*origin.fork.earlier, own):
        # A step that the origin hasn't begun is none that comes before the chosen one.
        with suppress(UnknownStep):
            if await control.history.started_at_seq(origin.run_id, change.node, change.visit) <= before:
                made.append(change)
    return tuple(made)


async def _begun_at(control: Control, fork: Fork) -> int:
    try:
        return await control.history.started_at_seq(fork.origin, fork.node, fork.visit)
    except UnknownStep as error:
        raise UnknownStep(error.name, hint=f"run {fork.origin} hasn't begun it") from None


def _new_run(
    run_id: UUID,
    origin: ForkOrigin,
    workflow: Workflow,
    inputs: Mapping[str, Any],
    fork: Fork,
    known_by: dict[str, Any],
) -> NewRun:
    return NewRun(
        run_id,
        origin.workflow,
        origin.revision,
        origin.definition,
        inputs,
        origin.priority,
        workflow.execution.max_attempts,
        workflow.execution.timeout,
        **known_by,
        fork=fork,
    )
