"""Judges the runs of a campaign by what the API says about them and what the model has logged. Pure.

A call of a step may be repeated while its result isn't committed: that is what idempotency keys are for. It must not be
repeated after that, and not after a step that waits for the result has made its own call.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from chaos.campaign.histories import Event, History
from chaos.campaign.model import Asked
from chaos.campaign.shapes import Expected, reply_to, step_name

Kind: TypeAlias = Literal["lost", "repeated", "out of order", "wrong result", "wrong key", "wrong ledger"]
KINDS: Final[tuple[Kind, ...]] = ("lost", "repeated", "out of order", "wrong result", "wrong key", "wrong ledger")
LOSSES: Final = ("executor_lost", "released")
"""Why a run was put back into the queue, if its executor didn't do it."""
_ENDINGS: Final = ("run.succeeded", "run.failed", "run.cancelled")
_CLOCKS_S: Final = 5.0
"""How far the times of events and of the model's log may differ, because executors estimate the database's."""
_ON_THE_WAY_S: Final = 0.05
"""How long after a freeze a request may arrive that the freeze has interrupted."""
_FREEZES_PER_INTERRUPTED: Final = 25


@dataclass(frozen=True)
class Violation:
    """What must not happen. `late_at`: when the call came, if it is a call that came too late."""

    kind: Kind
    run_id: str
    text: str
    late_at: float | None = None


def check_run(
    run_id: str, expected: Expected, history: History | None, asked: Sequence[Asked], seen: Mapping[str, float]
) -> list[Violation]:
    """`asked`: the requests that the model received with a key of this run, in their order.

    `seen`: when a client knew that a step was committed, by the clock of the model's log.
    """
    if history is None:
        return [Violation("lost", run_id, "its submit was answered with 2xx, and the API doesn't know it")]
    status = history.run["status"]
    if status != "succeeded":
        return [Violation("lost", run_id, f"it is {status}: {history.run['error']}")]
    calls: dict[str, list[Asked]] = {}
    for request in asked:
        calls.setdefault(request.key.partition(":")[2], []).append(request)
    problems = [
        *_results(expected, history),
        *_order_of_events(expected, history.events),
        *_steps(expected, history),
        *_requests(expected, history.events, calls, seen),
        *_ledger(expected, history, calls),
    ]
    return [replace(problem, run_id=run_id) for problem in problems]


def check_stream(run_id: str, history: History, streamed: Sequence[int]) -> list[Violation]:
    """`streamed`: the numbers of the events that a client has received, which may have connected several times."""
    if list(streamed) == [event.seq for event in history.events]:
        return []
    return [Violation("out of order", run_id, f"of {len(history.events)} events its client received {streamed}")]


def _violation(kind: Kind, text: str, late_at: float | None = None) -> Violation:
    return Violation(kind, "", text, late_at)


def _results(expected: Expected, history: History) -> Iterator[Violation]:
    outputs = history.run["outputs"]
    if outputs != expected.outputs:
        yield _violation("wrong result", f"its outputs are {outputs}, not {expected.outputs}")
    for event in history.events:
        if event.type == "step.finished" and (call := expected.calls.get(event.step)) is not None:
            (value,) = event.data["outputs"].values()
            if value != reply_to(call.prompt):
                yield _violation("wrong result", f"event {event.seq}: {event.step} has the result {value!r}")


def _order_of_events(expected: Expected, events: Sequence[Event]) -> Iterator[Violation]:
    """Numbers without gaps, in a life as a run may have it; each step begins after the results that it waits for."""
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        yield _violation("out of order", f"its events have the numbers {[event.seq for event in events]}")
    if not events or events[-1].type != "run.succeeded":
        yield _violation("out of order", "its last event isn't run.succeeded")
    place, begun, finished = "new", set[str](), set[str]()
    for event in events:
        after = _next_place(place, event)
        if after is None:
            yield _violation("out of order", f"event {event.seq}: {event.type} of a run that is {place}")
        place = after or place
        if event.type == "run.claimed":
            begun = set()
        elif event.type == "step.started":
            begun.add(event.step)
            missing = expected.calls[event.step].after - finished if event.step in expected.calls else set()
            if missing:
                yield _violation("out of order", f"event {event.seq}: {event.step} begins before {sorted(missing)}")
            if event.step in finished:
                yield _violation("repeated", f"event {event.seq}: {event.step} begins again")
        elif event.type == "step.finished":
            if event.step not in begun:
                yield _violation("out of order", f"event {event.seq}: {event.step} ends without a beginning")
            if event.step in finished:
                yield _violation("repeated", f"event {event.seq}: {event.step} ends again")
            finished.add(event.step)


def _next_place(place: str, event: Event) -> str | None:
    """Where a run stands after the event; None: there can't be such an event here."""
    match event.type, place:
        case "run.queued", "new" | "claimed" | "waiting":
            return "queued"
        case "run.queued", "queued" if event.data.get("reason") in LOSSES:
            # It was claimed, and its executor was lost before it had written that.
            return "queued"
        case "run.claimed", "queued":
            return "claimed"
        case kind, "claimed" if kind not in ("run.queued", "run.claimed"):
            return "ended" if kind in _ENDINGS else "waiting" if kind == "run.waiting" else "claimed"
        case _:
            return None


def _steps(expected: Expected, history: History) -> Iterator[Violation]:
    """Each step has ended once, both in the events and in the list of steps, and no other."""
    listed = [step for step in history.steps if step["kind"] == "step"]
    for source, names in (
        ("events", [event.step for event in history.events if event.type == "step.finished"]),
        ("steps", [step_name(step) for step in listed if step["status"] == "succeeded"]),
    ):
        counts = Counter(name for name in names if name in expected.calls)
        for name in expected.calls:
            if counts[name] != 1:
                kind: Kind = "repeated" if counts[name] else "lost"
                yield _violation(kind, f"{name} has ended {counts[name]} times in its {source}")
    for step in listed:
        if step_name(step) not in expected.calls:
            yield _violation("repeated", f"it has a step {step_name(step)}, which is one too many")


def _requests(
    expected: Expected, events: Sequence[Event], calls: Mapping[str, Sequence[Asked]], seen: Mapping[str, float]
) -> Iterator[Violation]:
    """Each step has called the model under its key, in time."""
    ended = {event.step: event.at + _CLOCKS_S for event in events if event.type == "step.finished"}
    for name, requests in calls.items():
        if name not in expected.calls:
            yield _violation("repeated", f"the model was called for {name}, a step that the run doesn't have")
        elif any(request.prompt != expected.calls[name].prompt for request in requests):
            yield _violation("wrong key", f"the key of {name} came with {sorted({r.prompt for r in requests})}")
    for name, call in expected.calls.items():
        requests = calls.get(name, ())
        if not requests:
            yield _violation("wrong key", f"{name} has ended, and the model was never called under its key")
        followers = [
            calls[other][0].at for other, later in expected.calls.items() if name in later.after and other in calls
        ]
        limit = min([ended.get(name, 0.0), seen.get(name, math.inf), *followers])
        for request in requests:
            if request.at > limit:
                yield _violation("repeated", f"{name} was called at {request.at:.3f}, later than it may", request.at)
        for before in call.after:
            if requests and before in calls and requests[0].at < calls[before][0].at:
                yield _violation("out of order", f"{name} was called before {before}")


def _ledger(expected: Expected, history: History, calls: Mapping[str, Sequence[Asked]]) -> Iterator[Violation]:
    """The ledger has each call that the model received, unless its executor was lost before it had written anything."""
    if history.run["spending"]["calls"] != len(history.calls):
        yield _violation("wrong ledger", f"{len(history.calls)} calls, and a sum of {history.run['spending']['calls']}")
    claims_lost = sum(event.data.get("reason") in LOSSES for event in history.events if event.type == "run.queued")
    rows: dict[str, list[str | None]] = {}
    for call in history.calls:
        rows.setdefault(step_name(call), []).append(call["error"])
    for name in expected.calls:
        errors, received = rows.get(name, []), len(calls.get(name, ()))
        facts = f"{name}: the model received {received} calls, the ledger has {errors}"
        if errors.count(None) != 1 or received < len(errors) - errors.count("executor_lost"):
            yield _violation("wrong ledger", facts)
        if received > len(errors) + claims_lost:
            yield _violation("wrong ledger", f"{facts}; its executor was lost {claims_lost} times")


def without_interrupted(violations: Iterable[Violation], thaws: Sequence[float]) -> tuple[list[Violation], int]:
    """The violations without calls that a freeze has interrupted, and how many these were.

    A process that is stopped between its last look at its lease and the first byte of its request can't be kept from
    sending it. That is rare: if there are many, they are something else, and remain.
    """
    kept: list[Violation] = []
    interrupted: list[Violation] = []
    for violation in violations:
        at = violation.late_at
        is_on_the_way = at is not None and any(thaw <= at + 0.001 and at < thaw + _ON_THE_WAY_S for thaw in thaws)
        (interrupted if is_on_the_way else kept).append(violation)
    if len(interrupted) > max(1, len(thaws) // _FREEZES_PER_INTERRUPTED):
        return kept + interrupted, 0
    return kept, len(interrupted)


@dataclass(frozen=True)
class LostClaim:
    """A claim whose executor was lost. `again_at`: of the claim after it. Times in seconds since 1970."""

    executor: str
    reason: str
    claimed_at: float
    lost_at: float
    again_at: float


def lost_claims(events: Iterable[Event]) -> Iterator[LostClaim]:
    """Of one run."""
    moves = [event for event in events if event.type in ("run.claimed", "run.queued", *_ENDINGS)]
    for claim, lost, again in zip(moves, moves[1:], moves[2:], strict=False):
        reason = lost.data.get("reason")
        if claim.type == again.type == "run.claimed" and reason in LOSSES:
            yield LostClaim(claim.data["executor"], reason, claim.at, lost.at, again.at)
