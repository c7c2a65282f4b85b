"""`flowyard status`: whether the stack is well, and what it has to do."""

from __future__ import annotations

import argparse
import os

from flowyard.api.client import Client
from flowyard.api.status import StatusView
from flowyard_embedded import exits
from flowyard_embedded.remote.address import own_place
from flowyard_embedded.remote.stack import NOT_DONE, at_the_stack
from flowyard_embedded.remote.standing import Service, Standing, standing_of
from flowyard_embedded.remote.tables import NONE, print_facts, print_table
from flowyard_embedded.show.format import plural, seconds
from flowyard_embedded.streams import print_json, put


def execute(args: argparse.Namespace) -> int:
    # Who asks how it is wants to know now.
    return at_the_stack(args, _status, patience_s=0)


def _status(client: Client, args: argparse.Namespace) -> int:
    standing = standing_of(client, own_place(client.url, args.data, os.environ))
    if args.json:
        print_json(standing.as_data())
    else:
        _print(standing)
    return exits.OK if standing.is_well else NOT_DONE


def _print(standing: Standing) -> None:
    status = standing.status
    version = f"flowyard {status.version}, schema {status.schema_version}, at " if status else "flowyard at "
    put(f"{version}{standing.url}\n")
    print_table(("service", "state", "port", "remark"), map(_row, standing.services), empty="")
    if status is not None:
        put()
        print_facts(_facts(status))


def _row(service: Service) -> tuple[object, ...]:
    again = f"started {service.starts} times" if service.starts is not None and service.starts > 1 else ""
    return service.name, service.state, service.port or NONE, ", ".join(filter(None, (again, service.detail)))


def _facts(status: StatusView) -> list[tuple[str, object]]:
    queue = status.queue
    oldest = f" (the oldest for {seconds(queue.oldest_queued_s)})" if queue.queued else ""
    return [
        ("runs", f"{queue.queued:,} queued{oldest}, {queue.running:,} running, {queue.waiting:,} waiting"),
        (
            "executors",
            f"{plural(len(status.executors), 'executor')}, {status.slots_used} of {status.slots} slots in use",
        ),
        ("orphaned", f"{queue.orphaned}" + (": a defect, please report it" if queue.orphaned else "")),
    ]
