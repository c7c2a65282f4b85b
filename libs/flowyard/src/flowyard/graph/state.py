"""The state of a run, as one of its branches sees it: the workflow's fields, and how often its loops have turned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from flowyard.language.values.reducers import REDUCERS, Reducer, merge, merged
from flowyard.language.workflow import Workflow

State: TypeAlias = Mapping[str, Any]

LOOPS: Final = "~loops"
"""Beside the fields: node → turns that its loop has made since an enclosing loop turned."""


@dataclass(frozen=True, slots=True)
class Write:
    """What one step writes. `replaces`: whether it takes the place of values that it would otherwise be merged with."""

    values: Mapping[str, Any]
    replaces: bool = False


def reducers(workflow: Workflow) -> dict[str, Reducer]:
    """Per field how writes merge; a field that isn't here keeps the last write."""
    own = {name: REDUCERS[f.reduce] for name, f in workflow.fields.items() if f.reduce != "replace"}
    return {**own, LOOPS: merge}


def initial_state(workflow: Workflow, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a run starts with: its inputs, the defaults of other fields, and null."""
    return {name: inputs.get(name, f.default) for name, f in workflow.fields.items()}


def after_writes(state: State, writes: Iterable[Write], merging: Mapping[str, Reducer]) -> dict[str, Any]:
    """The state once these writes are in, in this order."""
    after = dict(state)
    new: defaultdict[str, list[Any]] = defaultdict(list)
    for write in writes:
        for name, value in write.values.items():
            if write.replaces or name not in merging:
                after[name] = value
                new.pop(name, None)
            else:
                new[name].append(value)
    return {**after, **{name: merged(merging[name], after.get(name), values) for name, values in new.items()}}
