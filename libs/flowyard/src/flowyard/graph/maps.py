"""A map: one node, once per item of a list, by a bounded number of workers, with the results in the items' order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from flowyard.errors.runs import ReplayMismatch
from flowyard.graph.marking import Branch
from flowyard.graph.tasks import run_together
from flowyard.graph.transitions import items_of
from flowyard.language.workflow import Map
from flowyard.runs.events import Failure, StepFailed, StepFinished, StepId
from flowyard.runs.run import Step
from flowyard.steps.recorder import Recorder

MOST_AT_ONCE: Final = 256
"""Items of one map that are at work at the same time, unless its document says how many."""

Pause: TypeAlias = Callable[[], Awaitable[None]]
"""Lets other work of the process go on now and then: a list may be long."""
RunItem: TypeAlias = Callable[[int, Any], Awaitable[StepFinished | StepFailed]]


async def execute_items(
    map_: Map, branch: Branch, recorder: Recorder, run_item: RunItem, pause: Pause
) -> dict[str, Any]:
    """The map's outputs. Items that are recorded aren't executed again.

    Raises ItemFailed for an item that fails the run.
    """
    items = items_of(map_, branch.state)
    step = StepId(branch.at, branch.visit)
    results, pending = await recorded_results(map_, step, items, recorder.recorded, pause)
    recorder.start_map(step, len(items), await digest_of(items, pause))

    async def work() -> None:
        for index in waiting:
            end = await run_item(index, items[index])
            recorder.settle(end)
            if isinstance(end, StepFailed) and end.handled == "fail":
                raise ItemFailed(end.error)
            results[index] = item_result(map_, *_outcome(end))

    waiting = iter(pending)
    workers = min(len(pending), map_.max_concurrency or MOST_AT_ONCE)
    if workers:
        await run_together(work() for _ in range(workers))
    return collected(map_, results)


def collected(map_: Map, results: Iterable[list[Any]]) -> dict[str, Any]:
    """The outputs of a map. `results`: per item `[result]`, or `[]` where there is none."""
    return {map_.collect_field: [value for result in results for value in result]}


async def recorded_results(
    map_: Map, step: StepId, items: Sequence[Any], recorded: Mapping[StepId, Step], pause: Pause
) -> tuple[list[list[Any]], list[int]]:
    """The results of the recorded items, and the indexes of the others. Raises ReplayMismatch."""
    earlier = recorded.get(step)
    if earlier is not None:
        await _check_items(earlier, items, pause)
    results: list[list[Any]] = [[] for _ in items]
    if not recorded:
        return results, list(range(len(items)))
    pending = []
    for index in range(len(items)):
        item = recorded.get(StepId(step.node, step.visit, index))
        if item is not None and item.has_ended:
            results[index] = item_result(map_, item.outputs, item.error)
        else:
            pending.append(index)
        await pause()
    return results, pending


class ItemFailed(Exception):
    """An item has failed, and with it the run."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def item_result(map_: Map, outputs: Mapping[str, Any] | None, error: Failure | None) -> list[Any]:
    """`[result]`, or `[]` for an item that failed and is skipped."""
    if error is None:
        values = outputs or {}
        return [next(iter(values.values()))] if len(values) == 1 else [dict(values)]
    return [] if map_.on_item_error == "skip" else [{"error": error.code, "message": error.message}]


async def digest_of(items: Sequence[Any], pause: Pause) -> str:
    """SHA-256 of the items as JSON."""
    digest, encode = hashlib.sha256(), json.JSONEncoder(sort_keys=True).encode
    for item in items:
        digest.update(encode(item).encode() + b"\n")
        await pause()
    return digest.hexdigest()


def _outcome(end: StepFinished | StepFailed) -> tuple[Mapping[str, Any] | None, Failure | None]:
    return (None, end.error) if isinstance(end, StepFailed) else (end.outputs, None)


async def _check_items(step: Step, items: Sequence[Any], pause: Pause) -> None:
    known = step.outputs or {}
    if "digest" in known and (known["items"], known["digest"]) != (len(items), await digest_of(items, pause)):
        raise ReplayMismatch(f"the map {StepId(step.node, step.visit)} began with other items")
