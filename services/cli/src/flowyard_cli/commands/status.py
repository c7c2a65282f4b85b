"""`flowyard status`: the health of the stack, its queue, and what it did today."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from functools import partial
from typing import Final

from flowyard.api.client import Client
from flowyard.api.status import AlertView, StatusView
from flowyard.runs.run import STATES
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, carry_out, stack_command
from flowyard_cli.remote.address import own_place
from flowyard_cli.remote.health import ServiceStatus, StackHealth, firing, stack_health
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.format import cost, plural, seconds
from flowyard_cli.show.tables import NONE, ago, print_facts, print_table
from flowyard_embedded.streams import print_json, put

_EXAMPLES: Final = """\
  flowyard status
  flowyard status --json | jq .queue

The exit code is 1 if something is down."""
_COLUMNS: Final = ("service", "state", "port", "version", "remark")


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    # Without patience: a gateway that doesn't answer now is what the user wants to know.
    carry_out(parser, StackArgs, partial(at_the_stack, _status, patience_s=0))


def _status(client: Client, args: StackArgs) -> int:
    health = stack_health(client, own_place(client.url, args.data, os.environ))
    if args.json:
        print_json(health.as_data())
    else:
        show(health)
    return exits.STACK_FAILED if health.wrong else exits.OK


def show(health: StackHealth) -> None:
    """To standard output. Raises UnwritableOutput."""
    status = health.status
    version = f"flowyard {status.version}, schema {status.schema_version}, at " if status else "flowyard at "
    put(f"{version}{health.url}\n")
    print_table(_COLUMNS, map(_row, health.services), empty="")
    if status is not None:
        put()
        print_facts(_facts(status))
    if health.wrong:
        put()
        print_facts(("wrong", fault) for fault in health.wrong)


def _row(service: ServiceStatus) -> tuple[object, ...]:
    again = f"started {service.starts} times" if service.starts is not None and service.starts > 1 else ""
    several = f"{service.replicas} replicas" if service.replicas is not None and service.replicas > 1 else ""
    where = service.address if service.port is None else None
    remarks = ", ".join(filter(None, (again, several, where, service.detail)))
    return service.name, service.state, service.port or NONE, service.version, remarks


def _facts(status: StatusView) -> Iterator[tuple[str, object]]:
    queue, today, alerts = status.queue, status.today, status.alerts
    oldest = f" (the oldest for {seconds(queue.oldest_queued_s)})" if queue.queued else ""
    yield "runs", f"{queue.queued:,} queued{oldest}, {queue.running:,} running, {queue.waiting:,} waiting"
    executors = plural(len(status.executors), "executor")
    yield "executors", f"{executors}, {status.slots_used} of {status.slots} slots in use"
    yield "orphaned", queue.orphaned
    for waits in status.limit_waits:
        for_what = f"{waits.limit}, after a 429" if waits.rate_limited else f"the limit {waits.limit}"
        yield "waiting", f"{plural(waits.calls, 'model call')} for {for_what}, {seconds(waits.longest_s)}"
    if today is None:
        yield "today (UTC)", "too much to be counted in time"
    else:
        counts = ", ".join(f"{today.runs[state]:,} {state}" for state in STATES if today.runs.get(state))
        yield "today (UTC)", plural(today.total, "run") + (f": {counts}" if counts else "")
        yield "spent", f"{cost(today.known_cost_usd, today.unknown_cost)} for {plural(today.calls, 'model call')}"
    if alerts is not None:
        count = len(firing(status))
        fires = f"{count} {'fires' if count == 1 else 'fire'}" if count else "none fires"
        yield "alerts", f"unknown: {alerts.unreachable}" if alerts.unreachable else fires
        for alert in firing(status):
            yield "alert", _alert(alert)


def _alert(alert: AlertView) -> str:
    severity = f" ({alert.severity})" if alert.severity else ""
    about = f" for {', '.join(f'{k} {v}' for k, v in alert.labels.items())}" if alert.labels else ""
    since = f", since {ago(alert.since)}" if alert.since else ""
    return f"{alert.name}{severity}{about}{since}: {alert.summary or NONE}"
