"""What an event becomes by a trigger: the inputs of a run, or nothing. It reads nothing but the time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from flowyard.errors.steps import EvaluationError
from flowyard.language.triggers import Mcp, Trigger
from flowyard.language.values.evaluating import evaluated
from flowyard.language.values.expression_values import ExpressionContext


@dataclass(frozen=True, slots=True)
class Event:
    """What a trigger's texts may name. `headers`: by their names in lower case; `query`: a list if a name comes twice.

    An event that didn't come over HTTP has neither. `fire`: of a schedule, as `fire_facts` makes it; nothing else.
    `request`: of a chat, its body; only the headers besides. `now`: what time it is.
    """

    payload: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str | list[str]] = field(default_factory=dict, repr=False)
    fire: Mapping[str, Any] | None = None
    request: Mapping[str, Any] | None = field(default=None, repr=False)
    now: Callable[[], datetime] = field(default=partial(datetime.now, UTC), repr=False)

    @property
    def values(self) -> dict[str, Any]:
        """By the names that texts use."""
        if self.fire is not None:
            return {"fire": self.fire}
        if self.request is not None:
            return {"request": self.request, "headers": self.headers}
        return {"payload": self.payload, "headers": self.headers, "query": self.query}


def map_event(trigger: Trigger, event: Event) -> dict[str, Any] | None:
    """The inputs, not yet checked against the workflow's fields; None if the event doesn't match `when`.

    Raises EvaluationError, if the event lacks what an expression or a template names.
    """
    if isinstance(trigger.source, Mcp):
        # The arguments of a call are the inputs.
        return dict(event.payload) if isinstance(event.payload, dict) else {}
    look_up, around = event.values.__getitem__, ExpressionContext(now=_once(event.now))
    if trigger.when is not None and not trigger.when.holds(look_up, around):
        return None
    return {name: evaluated(value, look_up, around) for name, value in trigger.inputs.items()}


def map_request(trigger: Trigger, event: Event, optional: Collection[str]) -> dict[str, Any]:
    """As `map_event`, of a chat, whose requests lack much: an input among `optional` whose value names what isn't
    there is left out. Raises EvaluationError for the others.
    """
    look_up, around = event.values.__getitem__, ExpressionContext(now=_once(event.now))
    inputs = {}
    for name, value in trigger.inputs.items():
        try:
            inputs[name] = evaluated(value, look_up, around)
        except EvaluationError:
            if name not in optional:
                raise
    return inputs


def _once(read: Callable[[], datetime]) -> Callable[[], datetime]:
    """All expressions of an event see the same time."""
    return cache(read)
