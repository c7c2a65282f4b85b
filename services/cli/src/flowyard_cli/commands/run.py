"""`flowyard run`: runs a file in this process, or a workflow of the stack by its name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flowyard.errors.requests import InvalidInputs
from flowyard_cli.grammar import WatchArgs, carry_out, decimal, examples, integer, stream_option, where_options
from flowyard_embedded.startup import quick_imports

_EXAMPLES: Final = """\
  flowyard run haiku.yaml -i topic=rain
  flowyard run triage.yaml -i message='My invoice is wrong' --stream
  flowyard run report.yaml --inputs in.json -i n=3 --json > result.json
  flowyard run haiku.yaml -i topic=rain --model ollama/llama3.2
  flowyard run haiku.yaml -i topic=rain --model scripted/replies.yaml
  flowyard run haiku -i topic=rain

A file runs in this process. Any other name is that of a workflow of the running stack (see `flowyard apply`): the
stack completes the run even if this command ends. Ctrl-C leaves the run; `flowyard runs cancel` cancels it.
Inputs are read by the types of the workflow's fields: -i n=3 is a number where n is an int, and
-i tags='["a", "b"]' a list. An input given by -i replaces the same input in --inputs.
Progress goes to standard error, outputs to standard output."""
_LONGEST_WAIT_S: Final = 300


@dataclass(frozen=True, kw_only=True)
class RunArgs(WatchArgs):
    """`file`: or the name of a workflow. `given`: NAME=VALUE each. `wait`: in seconds."""

    file: str
    given: Sequence[str]
    inputs: str | None
    model: str | None
    detach: bool
    wait: float | None
    priority: int | None
    idempotency_key: str | None
    on_finish: Sequence[str]


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    parser.add_argument("file", metavar="FILE|NAME", help="a workflow: a file, - for standard input, or its name")
    parser.add_argument(
        "-i", "--input", dest="given", metavar="NAME=VALUE", action="append", default=[], help="an input of the run"
    )
    parser.add_argument("--inputs", metavar="FILE", help="a JSON object with inputs; - reads standard input")
    parser.add_argument("--model", metavar="PROVIDER/MODEL", help="use this model instead of those of the document")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    stream_option(parser)
    options = parser.add_argument_group("for a workflow of the stack")
    options.add_argument("--follow", action="store_true", help="show its progress and wait for its end (the default)")
    options.add_argument("--detach", action="store_true", help="print the run's id and return at once")
    options.add_argument(
        "--wait",
        metavar="SECONDS",
        type=decimal("seconds,", most=_LONGEST_WAIT_S),
        help=f"wait no longer than this, without progress (0 to {_LONGEST_WAIT_S})",
    )
    options.add_argument(
        "--priority", metavar="N", type=integer(-100, 100), help="runs with a higher number go first (-100 to 100)"
    )
    options.add_argument(
        "--idempotency-key", metavar="KEY", help="the same key with the same inputs leads to the same run"
    )
    options.add_argument(
        "--on-finish", metavar="URL", action="append", default=[], help="send a webhook there when the run has ended"
    )
    where_options(options)
    parser.set_defaults(url=None, data=None)
    carry_out(parser, RunArgs, execute)


def execute(args: RunArgs) -> int:
    # Inline: of the two ways to run, a command uses one, and each takes 0.2 s to import.
    with quick_imports():
        if not _is_file(args.file):
            from flowyard_cli.remote.run import run_by_name  # noqa: PLC0415

            return run_by_name(args)
        from flowyard_cli.local_run import run_file  # noqa: PLC0415
    if options := _only_by_name(args):
        raise InvalidInputs(
            [f"{option}: a file runs in this process; this is for a workflow's name" for option in options]
        )
    return run_file(args)


def _is_file(name: str) -> bool:
    """Names of workflows have no slash; what looks like a document counts as a file, even if it doesn't exist."""
    # Not Path.is_file: it raises in a folder that may not be read, such as another user's checkout in a container.
    looks_like_a_file = name in ("-", ".", "..") or "/" in name or name.endswith((".yaml", ".yml"))
    return looks_like_a_file or os.path.isfile(name)  # noqa: PTH113


def _only_by_name(args: RunArgs) -> list[str]:
    """The given options that a file can't have."""
    values = {
        "--url": args.url,
        "--data": args.data,
        "--detach": args.detach or None,
        "--wait": args.wait,
        "--priority": args.priority,
        "--idempotency-key": args.idempotency_key,
        "--on-finish": args.on_finish or None,
    }
    return [option for option, value in values.items() if value is not None]
