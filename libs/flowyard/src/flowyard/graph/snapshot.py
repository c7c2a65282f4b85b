"""Encodes a marking as JSON values, and decodes it: a run can be continued from it instead of all its rows. Pure.

The states of branches aren't in it: each is the base, followed by the branch's writes. A write that several branches
have in common stays one write. Sealed secrets stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowyard.graph.marking import Branch, Marking, Written
from flowyard.graph.results import Results
from flowyard.graph.state import Write, after_writes


def snapshot_of(marking: Marking) -> dict[str, Any]:
    writes: dict[int, tuple[int, Write]] = {}

    def data_of(branch: Branch) -> list[Any]:
        numbers, written = [], branch.written
        while written is not None:
            numbers.append(writes.setdefault(id(written.write), (len(writes), written.write))[0])
            written = written.before
        return [branch.at, branch.visit, list(branch.path), numbers[::-1]]

    return {
        "at_work": [data_of(branch) for branch in marking.at_work.values()],
        "waiting": {place: [data_of(branch) for branch in waiting] for place, waiting in marking.waiting.items()},
        "writes": [[dict(write.values), write.replaces] for _, write in writes.values()],
        "results": [
            [place, visit, list(results.by_item.items()), results.failed, results.digest]
            for (place, visit), results in marking.results.items()
        ],
        "base": dict(marking.base),
        "visits": marking.visits,
        "written": sorted(marking.written),
    }


def restore(marking: Marking, snapshot: Any) -> bool:
    """Puts the branches where they were. Returns False, and changes nothing, if the snapshot can't be decoded."""
    try:
        writes = [Write(values, replaces) for values, replaces in snapshot["writes"]]

        def branch_of(data: Sequence[Any]) -> Branch:
            at, visit, path, numbers = data
            own = [writes[number] for number in numbers]
            written: Written | None = None
            for write in own:
                written = Written(write, written)
            return Branch(at, visit, tuple(path), after_writes(snapshot["base"], own, marking.plan.merging), written)

        at_work = {(data[0], data[1]): branch_of(data) for data in snapshot["at_work"]}
        waiting = {place: [branch_of(data) for data in branches] for place, branches in snapshot["waiting"].items()}
        results = {
            (place, visit): Results(dict(by_item), failed, digest)
            for place, visit, by_item, failed, digest in snapshot["results"]
        }
        visits, written = dict(snapshot["visits"]), set(snapshot["written"])
    except (LookupError, TypeError, ValueError, AttributeError):
        return False
    marking.at_work, marking.waiting, marking.results = at_work, waiting, results
    marking.base, marking.visits, marking.written = snapshot["base"], visits, written
    return True
