"""What has become of a campaign's runs: reads them over the API, and has each of them checked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from chaos.campaign.checker import LostClaim, Violation, check_run, check_stream, lost_claims, without_interrupted
from chaos.campaign.clients import Gateway, Submission
from chaos.campaign.histories import History, all_runs, read_history
from chaos.campaign.model import Asked

_AT_ONCE: Final = 16


@dataclass
class Outcome:
    """`broken`: the runs with violations; `interrupted`: how many calls were sent over a freeze; `keys`: of calls."""

    keys: Counter[str]
    runs: int = 0
    violations: list[Violation] = field(default_factory=list)
    broken: dict[str, History] = field(default_factory=dict)
    lost_claims: list[LostClaim] = field(default_factory=list)
    interrupted: int = 0


async def judge(
    gateway: Gateway, submissions: Sequence[Submission], requests: Sequence[Asked], thaws: Sequence[float]
) -> Outcome:
    """`requests`: all that the model received. `thaws`: when frozen processes went on."""
    outcome = Outcome(Counter(request.key for request in requests))
    received: dict[str, list[Asked]] = {}
    for request in requests:
        received.setdefault(request.key.partition(":")[0], []).append(request)
    accepted = {run_id: submission for submission in submissions for run_id in submission.run_ids}
    listed = [run["id"] for run in await all_runs(gateway)]
    outcome.violations += [*_submits(submissions), *_lists(listed, accepted, received)]
    places = asyncio.Semaphore(_AT_ONCE)

    async def check(run_id: str, submission: Submission) -> None:
        async with places:
            history = await read_history(gateway, run_id)
        expected = submission.expected
        seen = dict.fromkeys(expected.calls, submission.ended_at) | submission.seen
        violations = check_run(run_id, expected, history, received.get(run_id, ()), seen)
        if submission.is_followed and history is not None:
            violations += check_stream(run_id, history, submission.streamed)
        _add(outcome, run_id, history, violations)

    async with asyncio.TaskGroup() as tasks:
        for run_id, submission in accepted.items():
            tasks.create_task(check(run_id, submission))
    outcome.violations, outcome.interrupted = without_interrupted(outcome.violations, thaws)
    return outcome


def _add(outcome: Outcome, run_id: str, history: History | None, violations: Sequence[Violation]) -> None:
    outcome.violations += violations
    if history is not None:
        outcome.runs += 1
        outcome.lost_claims += lost_claims(history.events)
        if violations:
            outcome.broken[run_id] = history


def _submits(submissions: Sequence[Submission]) -> Iterator[Violation]:
    """Each was accepted, and all its answers name the same run."""
    for submission in submissions:
        if not submission.run_ids:
            yield Violation("lost", "-", f"{submission.key}: {submission.refusal or 'its submit was never answered'}")
        elif len(set(submission.run_ids)) > 1:
            yield Violation("repeated", submission.run_ids[0], f"{submission.key} is the key of {submission.run_ids}")


def _lists(listed: Sequence[str], accepted: Collection[str], received: Mapping[str, object]) -> Iterator[Violation]:
    """The API lists the accepted runs and no other, and the model knows only these."""
    for run_id in sorted(set(listed) - set(accepted)):
        yield Violation("repeated", run_id, "it is in the list of runs, and in no answer to a submit")
    for run_id in sorted(set(accepted) - set(listed)):
        yield Violation("lost", run_id, "it isn't in the list of runs")
    for run_id in sorted(set(received) - set(listed)):
        yield Violation("wrong key", run_id, "the model was called with a key of no run")
