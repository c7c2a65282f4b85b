"""`flowyard triggers next` and `backfill`: when schedules fire, and fires of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from flowyard.api.client import Client
from flowyard.api.triggers import ScheduleView, TriggerDetail
from flowyard.errors.base import FlowyardError
from flowyard.language.triggers import Timed
from flowyard.schedules.facts import fire_facts, in_zone
from flowyard.schedules.fires import next_fires
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, add_action, carry_out
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.tables import as_data, print_facts
from flowyard_embedded.streams import print_json, put

_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True)
class NextArgs(StackArgs):
    workflow: str
    name: str


@dataclass(frozen=True, kw_only=True)
class BackfillArgs(StackArgs):
    workflow: str
    name: str
    begin: str
    end: str


class NotASchedule(FlowyardError, code="not_a_schedule"):
    """The trigger is of another kind."""

    def __init__(self, trigger: TriggerDetail) -> None:
        super().__init__(f"{trigger.workflow}/{trigger.name} is a {trigger.kind}, and no schedule")


def add_to(actions: Any) -> None:
    """The actions of `flowyard triggers` that only schedules have."""
    upcoming_ = add_action(actions, "next", "Show when a schedule fires: in words, and the next five times")
    backfill = add_action(actions, "backfill", "Start fires of a schedule that are over, each at most once")
    for action in (upcoming_, backfill):
        action.add_argument("workflow", metavar="WORKFLOW", help="the name of a workflow")
        action.add_argument("name", metavar="TRIGGER", help="the name of its trigger")
    day = "a day, or an instant: 2026-11-30, 2026-11-30T07:00; without an offset in the schedule's time zone"
    backfill.add_argument("--from", metavar="TIME", dest="begin", required=True, help=f"the first fire: {day}")
    backfill.add_argument("--to", metavar="TIME", dest="end", required=True, help="the last fire; of a day, all of it")
    carry_out(upcoming_, NextArgs, partial(at_the_stack, _next))
    carry_out(backfill, BackfillArgs, partial(at_the_stack, _backfill))


def facts_of(trigger: TriggerDetail) -> Sequence[tuple[str, object]]:
    """What `triggers show` says of a schedule."""
    schedule, options = trigger.schedule, trigger.options
    if schedule is None:
        return ()
    return (
        ("fires", f"{schedule.words}: {schedule.rule}"),
        ("jitter", f"{options.jitter_s:g} s" if options is not None and options.jitter_s else None),
        ("overlap", options.overlap if options is not None else None),
        ("catch up", f"{options.catch_up}, within {options.window_s:g} s" if options is not None else None),
        *_times(schedule),
    )


def next_fire(timed: Timed) -> dict[str, Any]:
    """What texts may name of the next fire, as if it were the first one."""
    return fire_facts(timed.rule, next_fires(timed.rule, datetime.now(UTC), 1)[0], number=1)


def upcoming(timed: Timed) -> list[str]:
    fires = next_fires(timed.rule, datetime.now(UTC), _SHOWN)
    return [_shown(in_zone(timed.rule, at)) for at in fires]


def _next(client: Client, args: NextArgs) -> int:
    trigger = client.trigger(args.workflow, args.name)
    if trigger.schedule is None:
        raise NotASchedule(trigger)
    if args.json:
        print_json(as_data(trigger.schedule))
    elif not trigger.schedule.next:
        put(f"{trigger.schedule.words}; the trigger is {trigger.state}")
    else:
        put(trigger.schedule.words)
        for at in trigger.schedule.next:
            put(f"  {_shown(at)}")
    return exits.OK


def _backfill(client: Client, args: BackfillArgs) -> int:
    done = client.backfill(args.workflow, args.name, begin=args.begin, end=args.end)
    if args.json:
        print_json(as_data(done))
        return exits.OK
    print_facts(
        [("fires", done.fires), ("wait for their run", done.added + done.again), ("had one, or waited", done.kept)]
    )
    return exits.OK


def _times(schedule: ScheduleView) -> list[tuple[str, object]]:
    return [("next" if i == 0 else "", _shown(at)) for i, at in enumerate(schedule.next)]


def _shown(at: datetime) -> str:
    return f"{at:%a %Y-%m-%d %H:%M:%S %z}"
