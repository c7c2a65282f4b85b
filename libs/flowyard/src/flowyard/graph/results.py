"""What the items of a map have come to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from flowyard.language.values.conform import conform
from flowyard.language.values.limits import limit_fault
from flowyard.language.values.types import Limited, without_null
from flowyard.language.workflow import Map, Workflow
from flowyard.large_json import parts
from flowyard.runs.events import Failure

_SORTED: Final = json.JSONEncoder(sort_keys=True)
_AT_A_TIME: Final = 32
"""Items that are encoded at a time. The recorded digests depend on it."""
Pause: TypeAlias = Callable[[], Awaitable[object]]
"""Lets other work of the process go on now and then: a list may be long."""


@dataclass(slots=True)
class Results:
    """What the ended items of a map at work have come to.

    `by_item`: `[result]`, or `[]` for one that failed and is skipped. `failed`: how many of them have failed.
    `digest`: of the map's items, once it is known.
    """

    by_item: dict[int, list[Any]] = field(default_factory=dict)
    failed: int = 0
    digest: str | None = None

    def pending(self, items: Sequence[Any]) -> list[int]:
        """The indexes of the items that haven't ended."""
        return [index for index in range(len(items)) if index not in self.by_item]

    def in_order(self) -> list[list[Any]]:
        return [self.by_item[index] for index in sorted(self.by_item)]


def collected(map_: Map, results: Iterable[list[Any]]) -> dict[str, Any]:
    """The outputs of a map. `results`: per item `[result]`, or `[]` where there is none."""
    return {map_.collect_field: [value for result in results for value in result]}


def collected_fault(workflow: Workflow, map_: Map, outputs: Mapping[str, Any]) -> str | None:
    """Why the outputs of a map can't be the value of its field, or None. Each result has fitted its node's output."""
    field, written = workflow.fields[map_.collect_field], workflow.nodes[map_.target].outputs
    problems: list[str] = []
    if [output.field for output in written] != [field.name]:
        # The type of a result may be wider than that of an element: `any`.
        conform(field.type, outputs[field.name], field.name, problems)
    elif isinstance(kind := without_null(field.type), Limited) and (fault := limit_fault(kind, outputs[field.name])):
        problems.append(f"{field.name}: {fault}")
    return "; ".join(problems) or None


def item_result(map_: Map, outputs: Mapping[str, Any] | None, error: Failure | None) -> list[Any]:
    """`[result]`, or `[]` for an item that failed and is skipped."""
    if error is None:
        values = outputs or {}
        return [next(iter(values.values()))] if len(values) == 1 else [dict(values)]
    return [] if map_.on_item_error == "skip" else [{"error": error.code, "message": error.message}]


async def digest_of(items: Sequence[Any], pause: Pause) -> str:
    """SHA-256 of the items as JSON, some of them at a time."""
    digest = hashlib.sha256()
    for start in range(0, len(items), _AT_A_TIME):
        for part in parts(items[start : start + _AT_A_TIME], _SORTED):
            digest.update(part.encode())
            await pause()
    return digest.hexdigest()
