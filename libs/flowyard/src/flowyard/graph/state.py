"""The state of a run as LangGraph holds it: the workflow's fields, and the engine's own bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias, TypedDict

from flowyard.language.workflow import Reduce, Workflow

State: TypeAlias = Mapping[str, Any]
Update: TypeAlias = dict[str, Any]
Reducer: TypeAlias = Callable[[Any, Any], Any]

TOKENS: Final = "~tokens"
"""Node → how many branches of the run stand before it; kept only where branches meet."""
LOOPS: Final = "~loops"
"""Node → [turns that its loop has made, whether it is going on]."""
VISITS: Final = "~visits"
"""Node → how often it has run; kept only for nodes that can run more than once."""
RESULTS: Final = "~results"
"""Map target → index of the item → its result, until the results are collected."""


def _append(old: Any, new: Any) -> Any:
    return [*(old or ()), new]


def _extend(old: Any, new: Any) -> Any:
    return [*(old or ()), *(new or ())]


def _merge(old: Any, new: Any) -> Any:
    return {**(old or {}), **(new or {})}


def _add(old: Any, new: Any) -> Any:
    return new if old is None else old + new


def _max(old: Any, new: Any) -> Any:
    return new if old is None else max(old, new)


def _min(old: Any, new: Any) -> Any:
    return new if old is None else min(old, new)


REDUCERS: Final[Mapping[Reduce, Reducer]] = {
    "append": _append,
    "extend": _extend,
    "merge": _merge,
    "add": _add,
    "max": _max,
    "min": _min,
}


def count_tokens(old: Any, new: Any) -> Any:
    counted = dict(old or {})
    for node, change in (new or {}).items():
        counted[node] = counted.get(node, 0) + change
    return {node: count for node, count in counted.items() if count > 0}


def gather_results(old: Any, new: Any) -> Any:
    """Adds the items' results; an empty update for a target forgets its results."""
    gathered = dict(old or {})
    for target, results in (new or {}).items():
        if results:
            gathered[target] = {**gathered.get(target, {}), **results}
        else:
            gathered.pop(target, None)
    return gathered


_BOOKKEEPING: Final[Mapping[str, Reducer]] = {
    TOKENS: count_tokens,
    LOOPS: _merge,
    VISITS: _merge,
    RESULTS: gather_results,
}


def reducers(workflow: Workflow) -> dict[str, Reducer]:
    """Per channel how writes merge; a channel that isn't here keeps the last write."""
    own = {name: REDUCERS[f.reduce] for name, f in workflow.fields.items() if f.reduce != "replace"}
    return {**own, **_BOOKKEEPING}


def state_schema(workflow: Workflow) -> type:
    merging = reducers(workflow)
    channels: dict[str, Any] = dict.fromkeys(workflow.fields, Any)
    channels |= {name: Annotated[Any, reducer] for name, reducer in merging.items()}
    return TypedDict("State", channels)  # type: ignore[operator,no-any-return]  # made at run time, per workflow


def initial_state(workflow: Workflow, inputs: Mapping[str, Any]) -> Update:
    """What a run starts with: its inputs, the defaults of other fields, and null."""
    return {name: inputs.get(name, f.default) for name, f in workflow.fields.items()}


def after_update(state: State, update: Mapping[str, Any], merging: Mapping[str, Reducer]) -> dict[str, Any]:
    """The state as a node sees it once its own writes are in."""
    seen = dict(state)
    for name, value in update.items():
        reducer = merging.get(name)
        seen[name] = value if reducer is None else reducer(state.get(name), value)
    return seen
