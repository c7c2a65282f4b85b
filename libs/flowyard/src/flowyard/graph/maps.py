"""A map: one node, once per item of a list, by a bounded number of workers, with the results in the items' order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from flowyard.graph.marking import Branch
from flowyard.graph.results import collected, digest_of, item_result
from flowyard.graph.tasks import run_together
from flowyard.graph.transitions import items_of
from flowyard.graph.walk import Walk
from flowyard.language.workflow import Map
from flowyard.runs.events import Failure, StepFailed, StepFinished, StepId

MOST_AT_ONCE: Final = 256
"""Items of one map that are at work at the same time, unless its document says how many."""

RunItem: TypeAlias = Callable[[int, Any], Awaitable[StepFinished | StepFailed]]


async def execute_items(map_: Map, branch: Branch, walk: Walk, run_item: RunItem) -> dict[str, Any]:
    """The map's outputs. Items that have ended aren't executed again. Raises NodeFailed for one that fails the run."""
    items, results = items_of(map_, branch.state), walk.marking.results_of(branch)
    if results.digest is None:
        results.digest = await digest_of(items, walk.pause)
    done = len(results.by_item) - results.failed
    progress = {"items": len(items), "digest": results.digest, "done": done, "failed": results.failed}
    walk.recorder.start_map(StepId(branch.at, branch.visit), progress)

    async def work() -> None:
        for index in waiting:
            end = await run_item(index, items[index])
            walk.recorder.settle(end)
            if isinstance(end, StepFailed):
                if end.handled == "fail":
                    raise walk.fail(end.error)
                results.failed += 1
            results.by_item[index] = item_result(map_, *_outcome(end))

    pending = results.pending(items)
    waiting = iter(pending)
    workers = min(len(pending), map_.max_concurrency or MOST_AT_ONCE)
    if workers:
        await run_together(work() for _ in range(workers))
    return collected(map_, results.in_order())


def _outcome(end: StepFinished | StepFailed) -> tuple[Mapping[str, Any] | None, Failure | None]:
    return (None, end.error) if isinstance(end, StepFailed) else (end.outputs, None)
