"""`flowyard triggers`: what starts runs, what came for it, and what a payload would start."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, assert_never
from uuid import UUID

from flowyard.api.client import Client
from flowyard.api.triggers import DeliveryView, TriggerView
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs
from flowyard.errors.steps import EvaluationError
from flowyard.language.inputs import valid_inputs
from flowyard.language.mapping import Event, map_event, map_request
from flowyard.language.problems import suggest
from flowyard.language.triggers import Chat, Mcp, Messages, OtherWorkflow, Requests, Timed, Trigger, Webhook
from flowyard.language.workflow import Workflow
from flowyard.runs.deliveries import OUTCOMES, Outcome
from flowyard.webhooks.payloads import read_payload
from flowyard.webhooks.request import Answer, HookDelivery, HookRequest
from flowyard.webhooks.schemes import read_unverified
from flowyard_cli import exits
from flowyard_cli.commands import schedules
from flowyard_cli.grammar import (
    DEFAULT_LIMIT,
    StackArgs,
    add_action,
    add_actions,
    carry_out,
    limit_option,
    stack_command,
)
from flowyard_cli.installation import installation_of
from flowyard_cli.reading import read_document
from flowyard_cli.remote.hooks import content_type_of, read_pairs, read_payload_file
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.problems import problems_as_data
from flowyard_cli.show.tables import ago, as_data, print_facts, print_items, when
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard triggers
  flowyard triggers show issues opened
  flowyard triggers deliveries --workflow issues --outcome failed
  flowyard triggers deliveries 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20
  flowyard triggers replay 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20
  flowyard triggers pause issues opened
  flowyard triggers next report mornings
  flowyard triggers backfill report mornings --from 2026-11-01 --to 2026-11-30
  flowyard triggers test issues.yaml --payload opened.json --header X-GitHub-Event=issues

`test` needs no stack: it shows which inputs the payload would become, and starts nothing."""


@dataclass(frozen=True, kw_only=True)
class ListTriggersArgs(StackArgs):
    workflow: str | None
    limit: int


@dataclass(frozen=True, kw_only=True)
class TriggerArgs(StackArgs):
    workflow: str
    name: str


@dataclass(frozen=True, kw_only=True)
class DeliveriesArgs(StackArgs):
    id: UUID | None
    workflow: str | None
    trigger: str | None
    outcome: Outcome | None
    run: UUID | None
    limit: int


@dataclass(frozen=True, kw_only=True)
class ReplayArgs(StackArgs):
    id: UUID


@dataclass(frozen=True, kw_only=True)
class TestTriggerArgs:
    file: str
    payload: str | None
    trigger: str | None
    header: Sequence[str]
    query: Sequence[str]
    json: bool


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    parser.set_defaults(workflow=None, limit=DEFAULT_LIMIT)
    carry_out(parser, ListTriggersArgs, partial(at_the_stack, _list))
    actions = add_actions(parser)
    listed = add_action(actions, "list", "The triggers of all workflows")
    listed.add_argument("--workflow", metavar="NAME", help="only those of this workflow")
    limit_option(listed)
    carry_out(listed, ListTriggersArgs, partial(at_the_stack, _list))
    for name, summary, work in (
        ("show", "Show a trigger, and what its document says", _show),
        ("pause", "Let a trigger start nothing until it is resumed; what comes is recorded", _pause),
        ("resume", "Let a paused trigger start runs again", _resume),
    ):
        action = add_action(actions, name, summary)
        action.add_argument("workflow", metavar="WORKFLOW", help="the name of a workflow")
        action.add_argument("name", metavar="TRIGGER", help="the name of its trigger")
        carry_out(action, TriggerArgs, partial(at_the_stack, work))
    schedules.add_to(actions)
    _add_deliveries(actions)
    replay = add_action(actions, "replay", "Start a run with what came then, whether it was a copy or not")
    replay.add_argument("id", metavar="ID", type=UUID, help="the id of a delivery: see `triggers deliveries`")
    carry_out(replay, ReplayArgs, partial(at_the_stack, _replay))
    _add_test(actions)


def _add_deliveries(actions: Any) -> None:
    deliveries = add_action(actions, "deliveries", "What came for triggers, newest first, or one of them")
    deliveries.add_argument("id", metavar="ID", type=UUID, nargs="?", help="show this one, with its payload")
    deliveries.add_argument("--workflow", metavar="NAME", help="only those for this workflow")
    deliveries.add_argument("--trigger", metavar="NAME", help="only those for the trigger of this name")
    deliveries.add_argument("--outcome", choices=OUTCOMES, help="only those that became this")
    deliveries.add_argument("--run", metavar="ID", type=UUID, help="only what started this run, and its copies")
    limit_option(deliveries)
    carry_out(deliveries, DeliveriesArgs, partial(at_the_stack, _deliveries))


def _add_test(actions: Any) -> None:
    test = add_action(actions, "test", "Show what a payload would start, without a stack, and start nothing")
    test.add_argument("file", metavar="FILE", help="a workflow; - reads standard input")
    test.add_argument(
        "--payload", metavar="FILE", help="the body of a request, as its sender sends it; not for schedules"
    )
    test.add_argument("--trigger", metavar="NAME", help="only this trigger of the document")
    test.add_argument("--header", metavar="NAME=VALUE", action="append", default=[], help="a header of the request")
    test.add_argument("--query", metavar="NAME=VALUE", action="append", default=[], help="a parameter of its address")
    carry_out(test, TestTriggerArgs, _test)


def _list(client: Client, args: ListTriggersArgs) -> int:
    triggers = client.triggers(workflow=args.workflow, most=args.limit)
    columns = ("workflow", "trigger", "kind", "from", "revision", "state")
    return print_items(triggers, columns, _row, as_json=args.json, empty="no triggers")


def _row(trigger: TriggerView) -> tuple[object, ...]:
    source = f"/hooks/{trigger.path}" if trigger.path is not None else trigger.subject or trigger.follows
    if trigger.schedule is not None:
        source = trigger.schedule.words
    return trigger.workflow, trigger.name, trigger.kind, source, trigger.revision, trigger.state


def _show(client: Client, args: TriggerArgs) -> int:
    trigger = client.trigger(args.workflow, args.name)
    if args.json:
        print_json(as_data(trigger))
        return exits.OK
    ends = ", ".join(trigger.statuses)
    follows = f"runs of {trigger.follows}: {ends}" if trigger.follows is not None else None
    verified = "nobody: everybody may send" if trigger.open else ", ".join((*trigger.secrets, *trigger.verify_tokens))
    print_facts(
        [
            ("workflow", f"{trigger.workflow}, revision {trigger.revision}"),
            ("trigger", trigger.name),
            ("description", trigger.description),
            ("state", _state(trigger)),
            ("address", f"/hooks/{trigger.path}" if trigger.path is not None else None),
            ("subject", trigger.subject),
            ("follows", follows),
            *schedules.facts_of(trigger),
            ("sender", trigger.sender),
            ("verified by", verified or None),
            ("when", trigger.when),
            ("inputs", ", ".join(trigger.inputs) or None),
            ("waits", f"{trigger.wait_s:g} s" if trigger.wait_s else None),
        ]
    )
    return exits.OK


def _state(trigger: TriggerView) -> str:
    """A trigger that its document disables may be paused, too."""
    if trigger.paused_at is None:
        return trigger.state
    paused = f"paused {ago(trigger.paused_at)}"
    return paused if trigger.state == "paused" else f"{trigger.state}, {paused}"


def _pause(client: Client, args: TriggerArgs) -> int:
    return _changed(client.pause_trigger(args.workflow, args.name, paused=True), args)


def _resume(client: Client, args: TriggerArgs) -> int:
    return _changed(client.pause_trigger(args.workflow, args.name, paused=False), args)


def _changed(trigger: TriggerView, args: StackArgs) -> int:
    if args.json:
        print_json(as_data(trigger))
    else:
        put(f"{trigger.workflow}/{trigger.name} is {trigger.state}")
    return exits.OK


def _deliveries(client: Client, args: DeliveriesArgs) -> int:
    if args.id is not None:
        return _delivery(client, args.id, args)
    matching = client.deliveries(
        workflow=args.workflow, trigger=args.trigger, outcome=args.outcome, run_id=args.run, most=args.limit
    )
    columns = ("delivery", "received", "workflow", "trigger", "outcome", "status", "run or reason")
    return print_items(matching, columns, _delivery_row, as_json=args.json, empty="no deliveries")


def _delivery_row(delivery: DeliveryView) -> tuple[object, ...]:
    about = delivery.reason or delivery.run_id
    head = delivery.id, when(delivery.received_at), delivery.workflow, delivery.trigger
    return *head, delivery.outcome, delivery.status, about


def _delivery(client: Client, delivery_id: UUID, args: StackArgs) -> int:
    delivery = client.delivery(delivery_id)
    if args.json:
        print_json(as_data(delivery))
        return exits.OK
    names = (
        "workflow",
        "trigger",
        "outcome",
        "reason",
        "status",
        "run_id",
        "replays",
        "sender_id",
        "fire_at",
        "address",
        "method",
    )
    print_facts(
        [
            ("delivery", delivery.id),
            ("received", f"{when(delivery.received_at)}, {ago(delivery.received_at)}"),
            *((name.replace("_", " "), getattr(delivery, name)) for name in names),
            ("body", f"{delivery.body_size} bytes, SHA-256 {delivery.digest or 'unknown: it was not read'}"),
            ("query", json.dumps(delivery.query) if delivery.query else None),
            ("headers", json.dumps(delivery.headers) if delivery.headers else None),
        ]
    )
    put(
        json.dumps(delivery.payload, indent=2, ensure_ascii=False) if delivery.has_payload else "its payload isn't kept"
    )
    return exits.OK


def _replay(client: Client, args: ReplayArgs) -> int:
    result = client.replay_delivery(args.id)
    if args.json:
        print_json(as_data(result))
    elif result.run_id is not None:
        put(f"run {result.run_id}, by the delivery {result.delivery}")
    else:
        put(f"nothing was started: {result.outcome}")
    return exits.OK


class UnknownTriggerOfDocument(FlowyardError, code="unknown_trigger"):
    """The document has no trigger, or none of this name."""

    def __init__(self, file: str, name: str | None, known: Sequence[str]) -> None:
        what = f"no trigger '{name}' ({suggest(name, known, 'triggers')})" if name is not None else "no triggers"
        super().__init__(f"{file}: {what}")


class PayloadMissing(FlowyardError, code="payload_missing"):
    """A trigger that isn't a schedule is tried without a payload."""

    def __init__(self, trigger: str) -> None:
        super().__init__(f"the trigger '{trigger}' needs --payload FILE")


def _test(args: TestTriggerArgs) -> int:
    loaded = read_document(args.file, installation_of(os.environ))
    for problem in loaded.errors:
        if not args.json:
            say(problem.render(loaded.file))
    if loaded.workflow is None:
        if args.json:
            print_json({"status": "invalid", "problems": problems_as_data(loaded)})
        return exits.WRONG_INPUT
    triggers = loaded.workflow.triggers
    chosen = [trigger for name, trigger in triggers.items() if args.trigger in (None, name)]
    if not chosen:
        raise UnknownTriggerOfDocument(loaded.file, args.trigger, list(triggers))
    request = _request(args.payload, args) if args.payload is not None else None
    results = [result for trigger in chosen for result in _results(loaded.workflow, trigger, request, args)]
    if args.json:
        print_json({"results": results})
    else:
        for result in results:
            _print_result(loaded.workflow.name, result)
    return exits.WRONG_INPUT if any(result["outcome"] == "failed" for result in results) else exits.OK


def _request(payload: str, args: TestTriggerArgs) -> HookRequest:
    body = read_payload_file(payload)
    headers = [(name.lower(), value) for name, value in read_pairs("--header", args.header)]
    return HookRequest("POST", "http://localhost/", (("content-type", content_type_of(body)), *headers), body)


def _results(
    workflow: Workflow, trigger: Trigger, request: HookRequest | None, args: TestTriggerArgs
) -> Sequence[dict[str, Any]]:
    """What each delivery of the request would become. The event of a workflow's end is the payload itself.

    Of a schedule: what its next fire would become, with the times of the next five.
    """
    if isinstance(trigger.source, Timed):
        fire = schedules.next_fire(trigger.source)
        return [_result(workflow, trigger, Event(fire=fire)) | {"next": schedules.upcoming(trigger.source)}]
    if request is None:
        raise PayloadMissing(trigger.name)
    try:
        match trigger.source:
            case Webhook(sender=sender):
                read = read_unverified(sender, request)
            case Messages(is_text=True) | Requests(is_text=True):
                read = (HookDelivery(None, request.body.decode(errors="replace")),)
            case Messages() | Requests() | OtherWorkflow() | Chat() | Mcp():
                read = (HookDelivery(None, read_payload(request)),)
            case _:
                assert_never(trigger.source)
    except FlowyardError as error:
        return [{"trigger": trigger.name, "outcome": "failed", "reason": error.message}]
    if isinstance(read, Answer):
        return [{"trigger": trigger.name, "outcome": "answered", "reason": "the sender only looks who is there"}]
    if not read:
        return [{"trigger": trigger.name, "outcome": "unmatched", "reason": "the request contains no message"}]
    headers, query = dict(request.headers), dict(read_pairs("--query", args.query))
    if isinstance(trigger.source, Chat):
        return [_result(workflow, trigger, Event(headers=headers, request=delivery.payload)) for delivery in read]
    return [_result(workflow, trigger, Event(delivery.payload, headers, query)) for delivery in read]


def _result(workflow: Workflow, trigger: Trigger, event: Event) -> dict[str, Any]:
    try:
        mapped = _mapped(workflow, trigger, event)
        inputs = valid_inputs(workflow, mapped) if mapped is not None else None
    except (EvaluationError, InvalidInputs) as error:
        return {"trigger": trigger.name, "outcome": "failed", "reason": error.message}
    if inputs is None:
        reason = f"'{trigger.when.text}' is false" if trigger.when is not None else None
        return {"trigger": trigger.name, "outcome": "unmatched", "reason": reason}
    return {"trigger": trigger.name, "outcome": "started", "inputs": inputs}


def _mapped(workflow: Workflow, trigger: Trigger, event: Event) -> dict[str, Any] | None:
    if not isinstance(trigger.source, Chat):
        return map_event(trigger, event)
    request = event.request if isinstance(event.request, Mapping) else {}
    optional = {name for name, field in workflow.fields.items() if not field.required}
    return map_request(trigger, event, optional) | {trigger.source.messages: request.get("messages")}


def _print_result(workflow: str, result: Mapping[str, Any]) -> None:
    if "next" in result:
        put(f"{result['trigger']}: fires {', '.join(result['next'])}")
    if result["outcome"] == "started":
        put(f"{result['trigger']}: starts a run of {workflow} with")
        for name, value in result["inputs"].items():
            put(f"  {name}: {json.dumps(value, ensure_ascii=False)}")
    else:
        put(f"{result['trigger']}: {result['outcome']}: {result['reason']}")
