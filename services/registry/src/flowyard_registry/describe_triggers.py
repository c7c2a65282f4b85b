"""Triggers as responses show them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from flowyard.api.triggers import ScheduleOptions, ScheduleView, TriggerDetail, TriggerView
from flowyard.language.load import Loaded
from flowyard.language.triggers import Timed, Webhook
from flowyard.schedules.facts import in_zone
from flowyard.schedules.fires import next_fires
from flowyard.schedules.rules import Cron, rule_of
from flowyard.schedules.words import explain
from flowyard.storage.triggers import StoredTrigger

_NEXT: Final = 5


def trigger_view(stored: StoredTrigger, now: datetime) -> TriggerView:
    """`now`: the database's, after which the next fires of a schedule are."""
    return TriggerView(**_trigger_facts(stored, now))


def trigger_detail(stored: StoredTrigger, loaded: Loaded, now: datetime) -> TriggerDetail:
    """Without what the document says if this version refuses it, which an older one accepted."""
    trigger = loaded.workflow.triggers[stored.name] if loaded.workflow is not None else None
    hook = trigger.source if trigger is not None and isinstance(trigger.source, Webhook) else None
    timed = trigger.source if trigger is not None and isinstance(trigger.source, Timed) else None
    return TriggerDetail(
        **_trigger_facts(stored, now),
        description=trigger.description if trigger is not None else None,
        sender=hook.sender if hook is not None else None,
        secrets=list(hook.secrets) if hook is not None else [],
        verify_tokens=list(hook.verify_tokens) if hook is not None else [],
        open=hook is not None and hook.is_open,
        when=trigger.when.text if trigger is not None and trigger.when is not None else None,
        inputs=list(trigger.inputs) if trigger is not None else [],
        wait_s=hook.wait_s if hook is not None else 0.0,
        statuses=list(stored.ends or ()),
        options=_options(timed) if timed is not None else None,
    )


def _options(timed: Timed) -> ScheduleOptions:
    return ScheduleOptions(
        jitter_s=timed.jitter_s, overlap=timed.overlap, catch_up=timed.catch_up, window_s=timed.window_s
    )


def _trigger_facts(stored: StoredTrigger, now: datetime) -> dict[str, Any]:
    state = "disabled" if not stored.enabled else "paused" if stored.paused_at is not None else "active"
    names = ("workflow", "name", "kind", "path", "subject", "follows", "revision", "paused_at", "created_at")
    facts = {name: getattr(stored, name) for name in names}
    return facts | {"state": state, "schedule": _schedule(stored, now)}


def _schedule(stored: StoredTrigger, now: datetime) -> ScheduleView | None:
    if stored.rule is None:
        return None
    rule = rule_of(stored.rule)
    fires = next_fires(rule, now, _NEXT) if stored.is_live else []
    return ScheduleView(
        rule=rule.expression if isinstance(rule, Cron) else stored.rule,
        timezone=rule.timezone if isinstance(rule, Cron) else "UTC",
        words=explain(rule),
        next=[in_zone(rule, at) for at in fires],
    )
