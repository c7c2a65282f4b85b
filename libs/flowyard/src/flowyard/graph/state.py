"""The state of a run as LangGraph holds it: the workflow's fields, and the engine's own bookkeeping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeAlias, TypedDict

from langgraph.channels import Topic
from langgraph.types import Overwrite

from flowyard.language.values.reducers import REDUCERS, Reducer, merge
from flowyard.language.workflow import Workflow

State: TypeAlias = Mapping[str, Any]
Update: TypeAlias = dict[str, Any]

TOKENS: Final = "~tokens"
"""Node → how many branches of the run stand before it; kept only where branches meet."""
LOOPS: Final = "~loops"
"""Node → turns that its loop has made since an enclosing loop turned."""
VISITS: Final = "~visits"
"""Node → how often it has run; kept only for nodes that can run more than once."""
RESULTS: Final = "~results"
"""[map target, index of the item, its result] of each item that ran in the superstep before this one."""


def count_tokens(old: Any, new: Any) -> Any:
    counted = dict(old or {})
    for node, change in (new or {}).items():
        counted[node] = counted.get(node, 0) + change
    return {node: count for node, count in counted.items() if count > 0}


def reducers(workflow: Workflow) -> dict[str, Reducer]:
    """Per channel how writes merge; a channel that isn't here keeps the last write."""
    own = {name: REDUCERS[f.reduce] for name, f in workflow.fields.items() if f.reduce != "replace"}
    return {**own, TOKENS: count_tokens, LOOPS: merge, VISITS: merge}


def state_schema(workflow: Workflow, bookkeeping: Iterable[str]) -> type:
    """`bookkeeping`: which of the engine's own channels the workflow needs; each costs time in every superstep."""
    merging = reducers(workflow)
    channels: dict[str, Any] = {
        name: Annotated[Any, merging[name]] if name in merging else Any for name in (*workflow.fields, *bookkeeping)
    }
    if RESULTS in channels:
        channels[RESULTS] = Annotated[Any, Topic(list)]
    return TypedDict("State", channels)  # type: ignore[operator,no-any-return]  # made at run time, per workflow


def initial_state(workflow: Workflow, inputs: Mapping[str, Any]) -> Update:
    """What a run starts with: its inputs, the defaults of other fields, and null."""
    return {name: inputs.get(name, f.default) for name, f in workflow.fields.items()}


def after_update(state: State, update: Mapping[str, Any], merging: Mapping[str, Reducer]) -> dict[str, Any]:
    """The state as a node sees it once its own writes are in."""
    seen = dict(state)
    for name, value in update.items():
        reducer = merging.get(name)
        if isinstance(value, Overwrite):
            seen[name] = value.value
        else:
            seen[name] = value if reducer is None else reducer(state.get(name), value)
    return seen
