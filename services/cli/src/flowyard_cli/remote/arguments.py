"""The grammar of the commands for a running stack. Imports nothing heavy: `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from flowyard_cli.remote.report_arguments import add_report_commands

Command: TypeAlias = Callable[[Any, str, str, str], argparse.ArgumentParser]
"""Adds a parser: to what, the command's name, what it does, examples."""

_STATES: Final = ("queued", "running", "waiting", "succeeded", "failed", "cancelled")
_SCOPES: Final = ("read", "run", "admin")
_LEVELS: Final = ("debug", "info", "warning", "error")
_LIMIT: Final = 50
_MOST_LISTED: Final = 100_000
_LONGEST_WAIT: Final = 300
_WHERE: Final = """

The stack is the one that `flowyard up` has started, or that of --url or FLOWYARD_URL, with the key in
FLOWYARD_API_KEY."""


def add_stack_commands(commands: Any, command: Command) -> None:
    for add in (_apply, _workflows, _runs, _agents, _keys, _logs, _status):
        add(commands, command)

    def at_the_stack(*told: Any) -> argparse.ArgumentParser:
        commands, name, summary, examples = told
        return _top(command(commands, name, summary, examples + _WHERE))

    add_report_commands(commands, at_the_stack)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What `run` takes beside the rest if it is told the name of a workflow."""
    options = parser.add_argument_group("for a workflow of the stack")
    options.add_argument("--follow", action="store_true", help="show its progress and wait for its end (the default)")
    options.add_argument("--detach", action="store_true", help="print its id and leave it to the stack")
    options.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        help=f"wait no longer than this, without progress (0 to {_LONGEST_WAIT})",
    )
    options.add_argument("--priority", metavar="N", type=_priority, help="higher goes first (-100 to 100)")
    options.add_argument(
        "--idempotency-key", metavar="KEY", help="the same key with the same inputs leads to the same run"
    )
    _options(options)
    parser.set_defaults(url=None, data=None)


def _apply(commands: Any, command: Command) -> None:
    parser = _top(
        command(
            commands,
            "apply",
            "Give documents to the stack: each becomes a workflow, or a new revision of one.",
            """\
  flowyard apply triage.yaml
  flowyard apply flows/*.yaml && flowyard run triage -i message='My invoice is wrong'

A document whose content is current already changes nothing. If one of them has errors, none is applied."""
            + _WHERE,
        )
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="workflows; - reads standard input")


def _workflows(commands: Any, command: Command) -> None:
    group = _top(
        command(
            commands,
            "workflows",
            "List the workflows of the stack, look at one, and change them.",
            """\
  flowyard workflows
  flowyard workflows show triage
  flowyard workflows diff triage --from 2
  flowyard workflows rollback triage 2"""
            + _WHERE,
        )
    )
    group.set_defaults(search=None, limit=_LIMIT)
    actions = _actions(group)
    parser = _leaf(actions, "list", "All workflows")
    parser.add_argument("--search", metavar="TEXT", help="a part of the name")
    _limit(parser)
    parser = _leaf(actions, "show", "One workflow: its inputs and nodes")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--document", action="store_true", help="print the document, as it was written")
    parser = _leaf(actions, "revisions", "Its revisions, newest first")
    parser.add_argument("name", metavar="NAME")
    _limit(parser)
    parser = _leaf(actions, "diff", "What changed between two revisions")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--from", dest="older", metavar="N", type=_revision, help="if left out, the one before")
    parser.add_argument("--to", dest="newer", metavar="N", type=_revision, help="if left out, the current one")
    parser = _leaf(actions, "rollback", "Make the document of an older revision the current one")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("revision", metavar="REVISION", type=_revision)
    parser = _leaf(actions, "delete", "Delete a workflow with its revisions; runs that have ended stay")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--force", action="store_true", help="cancel its open runs, instead of refusing")


def _runs(commands: Any, command: Command) -> None:
    group = _top(
        command(
            commands,
            "runs",
            "List the runs of the stack, follow one, and change its course.",
            """\
  flowyard runs list --workflow triage --status failed
  flowyard runs follow 019adf3c
  flowyard runs cancel --workflow triage --all
  flowyard runs retry 019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20 --follow
  flowyard runs fork 019adf3c --from write#2 --set topic=snow --follow

The first six characters of an id or more are enough where only one run has them."""
            + _WHERE,
        )
    )
    group.set_defaults(workflow=None, status=None, limit=_LIMIT)
    actions = _actions(group)
    parser = _leaf(actions, "list", "Runs, newest first")
    parser.add_argument("--workflow", metavar="NAME", help="only its runs")
    parser.add_argument("--status", metavar="STATUS", action="append", choices=_STATES, help=", ".join(_STATES))
    _limit(parser)
    _leaf(actions, "show", "One run: its steps, inputs and outputs").add_argument("run", metavar="ID")
    parser = _leaf(actions, "follow", "Show a run's progress up to its end, and what it came to")
    parser.add_argument("run", metavar="ID")
    _stream(parser)
    parser = _leaf(actions, "cancel", "Cancel runs")
    parser.add_argument("runs", metavar="ID", nargs="*")
    parser.add_argument("--workflow", metavar="NAME", help="with --all: all of its open runs")
    parser.add_argument("--all", action="store_true")
    parser = _leaf(actions, "retry", "Let a failed run go on from the step that failed")
    parser.add_argument("run", metavar="ID")
    _follow(parser)
    parser = _leaf(actions, "fork", "A new run that takes along what this one had done before a step")
    parser.add_argument("run", metavar="ID")
    parser.add_argument(
        "--from", dest="point", metavar="NODE[#VISIT]", help="where it goes on; if left out, it begins at the start"
    )
    parser.add_argument(
        "--set", metavar="FIELD=VALUE", action="append", default=[], help="change a field there; an input, at the start"
    )
    _follow(parser)


def _agents(commands: Any, command: Command) -> None:
    _top(
        command(
            commands,
            "agents",
            "List the agents that have registered: executors, and programs elsewhere.",
            "  flowyard agents" + _WHERE,
        )
    )


def _keys(commands: Any, command: Command) -> None:
    group = _top(
        command(
            commands,
            "keys",
            "Make, list and revoke API keys. This needs one with the scope admin.",
            """\
  flowyard keys create 'nightly import' --scope run
  KEY=$(flowyard keys create ci --scope run)
  flowyard keys revoke k7c2qmzd"""
            + _WHERE,
        )
    )
    actions = _actions(group)
    parser = _leaf(actions, "create", "Make a key, and print it this once")
    parser.add_argument("name", metavar="NAME", help="what people know it by")
    parser.add_argument(
        "--scope", choices=_SCOPES, required=True, help="read; run, which includes it; admin, which includes both"
    )
    _leaf(actions, "list", "All keys")
    _leaf(actions, "revoke", "Make a key worthless, at once").add_argument("id", metavar="ID", help="see `keys list`")


def _logs(commands: Any, command: Command) -> None:
    parser = _top(
        command(
            commands,
            "logs",
            "Show the newest log lines of all services, or all that is known of one run.",
            """\
  flowyard logs
  flowyard logs --service executor --level warning --follow
  flowyard logs 019adf3c
  flowyard logs last --follow
  flowyard logs last --compose            of a stack in containers, in the directory of its docker-compose.yml

Of a run: what happened in it, and the lines of all services about it, in the order of their times; with --follow, up
to its end. Logs are read on this machine: from the directory of `flowyard up`, or, with --compose or
COMPOSE_PROJECT_NAME, by docker compose."""
            + _WHERE,
        )
    )
    parser.add_argument("run", metavar="RUN", nargs="?", help="an id, the beginning of one, or: last")
    parser.add_argument("--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--level", choices=_LEVELS, default="info", help="the least (default: info)")
    parser.add_argument("--service", metavar="NAME", help="only this one: gateway, executor, executor-2, events, …")
    parser.add_argument(
        "--lines", metavar="N", type=_most, default=_LIMIT, help=f"without RUN: how many (default: {_LIMIT})"
    )
    parser.add_argument(
        "--compose", metavar="PROJECT", nargs="?", const="", help="the stack is in containers, of this project"
    )


def _status(commands: Any, command: Command) -> None:
    _top(
        command(
            commands,
            "status",
            "Say whether the stack is well: services, executors, runs that wait.",
            """\
  flowyard status
  flowyard status --json | jq .queue

Ends with 1 if something is down."""
            + _WHERE,
        )
    )


def _top(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    _options(parser)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
    parser.set_defaults(url=None, data=None, json=False)
    return parser


def _actions(group: argparse.ArgumentParser) -> Any:
    return group.add_subparsers(dest="action", metavar="ACTION", title="actions (list if left out)")


def _leaf(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary[0].lower() + summary[1:], description=f"{summary}."
    )
    # Without defaults: what stands before the action's name counts too.
    _options(parser)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
    return parser


def _options(parser: Any) -> None:
    suppressed = argparse.SUPPRESS
    parser.add_argument("--url", metavar="URL", default=suppressed, help="of the gateway (default: $FLOWYARD_URL)")
    parser.add_argument("--data", metavar="DIR", default=suppressed, help="of the stack, as `flowyard up` was told")


def _stream(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stream", action="store_true", help="print replies word by word as they come")


def _follow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="show its progress, and what it comes to")
    _stream(parser)


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_most,
        default=argparse.SUPPRESS,
        help=f"show no more than this (default: {_LIMIT})",
    )


def _most(text: str) -> int:
    return _between(text, 1, _MOST_LISTED)


def _priority(text: str) -> int:
    return _between(text, -100, 100)


def _revision(text: str) -> int:
    return _between(text, 1, 2**31 - 1)


def _between(text: str, least: int, most: int) -> int:
    if text.isascii() and text.removeprefix("-").isdecimal() and least <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"should be a number from {least} to {most}, not '{text}'")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds <= _LONGEST_WAIT:
        return seconds
    raise argparse.ArgumentTypeError(f"should be seconds, from 0 to {_LONGEST_WAIT}, not '{text}'")
