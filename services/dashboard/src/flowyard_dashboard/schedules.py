"""When the schedules of a workflow fire, as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from flowyard.schedules.facts import in_zone
from flowyard.schedules.fires import next_fires
from flowyard.schedules.rules import Cron, Rule, rule_of
from flowyard.schedules.words import explain
from flowyard.storage.fires import Fires
from flowyard.storage.triggers import StoredTrigger, Triggers
from flowyard_dashboard.parts import DashboardParts

_SHOWN: Final = 5
_MOST: Final = 100
"""Triggers of a workflow: a document has no more."""

State: TypeAlias = Literal["active", "paused", "disabled"]


@dataclass(frozen=True, slots=True)
class ShownSchedule:
    """`next`: in the schedule's time zone; empty unless it is active."""

    name: str
    rule: str
    words: str
    state: State
    next: tuple[datetime, ...]


async def schedules_of(parts: DashboardParts, workflow: str) -> list[ShownSchedule]:
    """In the order of their names."""
    triggers = await Triggers(parts.database).page(workflow=workflow, limit=_MOST)
    rules = [(trigger, rule_of(trigger.rule)) for trigger in triggers if trigger.rule is not None]
    if not rules:
        return []
    now = await Fires(parts.database).now()
    return [_shown(trigger, rule, now) for trigger, rule in rules]


def _shown(trigger: StoredTrigger, rule: Rule, now: datetime) -> ShownSchedule:
    state: State = "disabled" if not trigger.enabled else "paused" if trigger.paused_at is not None else "active"
    fires = next_fires(rule, now, _SHOWN) if trigger.is_live else []
    text = rule.expression if isinstance(rule, Cron) else ""
    return ShownSchedule(trigger.name, text, explain(rule), state, tuple(in_zone(rule, at) for at in fires))
