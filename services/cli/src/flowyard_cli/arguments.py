"""The command line's grammar, and help that teaches. Imports nothing heavy: `--help` answers at once."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from typing import Any, Final

from flowyard_cli.remote.arguments import add_run_options, add_stack_commands

_ABOUT: Final = "Flowyard runs workflows of LLM agents, written in YAML, on your own machine."
_START: Final = """\
start here:
  flowyard init haiku                      write a commented workflow, haiku.yaml
  flowyard run haiku.yaml -i topic=rain    run it on a small local model: no key, no network
  flowyard validate haiku.yaml             find what is wrong before it costs anything

and with a server that loses nothing:
  flowyard up --detach                     start Postgres, NATS and the services on this machine
  flowyard apply haiku.yaml                give it the workflow
  flowyard run haiku -i topic=rain         run it there, by its name; `flowyard runs` lists what ran

exit codes: 0 done, 1 the run or the stack failed, 2 the document, the inputs or the command are wrong, 130 cancelled
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowyard", description=_ABOUT, epilog=_START, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"flowyard {version('flowyard-cli')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for add in (_run, _validate, _test, _graph, _schema, _init, _up, _down, _migrate):
        add(commands)
    add_stack_commands(commands, _command)
    return parser


def _command(commands: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary[0].lower() + summary[1:].rstrip("."),
        description=summary,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _run(commands: Any) -> None:
    parser = _command(
        commands,
        "run",
        "Run a workflow and show its outputs, and where time and money went.",
        """\
  flowyard run haiku.yaml -i topic=rain
  flowyard run triage.yaml -i message='My invoice is wrong' --stream
  flowyard run report.yaml --inputs in.json -i n=3 --json > result.json
  flowyard run haiku.yaml -i topic=rain --model ollama/llama3.2
  flowyard run haiku.yaml -i topic=rain --model scripted/replies.yaml
  flowyard run haiku -i topic=rain

A file runs in this process; any other name is that of a workflow of the running stack (see `flowyard apply`),
which goes on with it whatever becomes of this command: Ctrl-C leaves the run, `flowyard runs cancel` ends it.
Inputs are read by the types of the workflow's fields: -i n=3 is a number where n is an int, and
-i tags='["a", "b"]' a list. An input given by -i wins over one in --inputs.
Progress goes to standard error, outputs to standard output.""",
    )
    parser.add_argument("file", metavar="FILE|NAME", help="a workflow: a file, - for standard input, or its name")
    parser.add_argument("-i", "--input", metavar="NAME=VALUE", action="append", default=[], help="an input of the run")
    parser.add_argument("--inputs", metavar="FILE", help="a JSON object with inputs; - reads standard input")
    parser.add_argument("--model", metavar="PROVIDER/MODEL", help="ask this model instead of those of the document")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--stream", action="store_true", help="print replies word by word as they come")
    add_run_options(parser)


def _validate(commands: Any) -> None:
    parser = _command(
        commands,
        "validate",
        "Check documents, without running anything.",
        """\
  flowyard validate triage.yaml
  flowyard validate flows/*.yaml --format sarif > problems.sarif

Every problem has its place: triage.yaml:9:12: no node 'wirte' (did you mean 'write'?) [unknown-node]""",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="workflows; - reads standard input")
    parser.add_argument(
        "--format", choices=("text", "json", "sarif"), default="text", help="sarif is read by code hosts and editors"
    )


def _test(commands: Any) -> None:
    parser = _command(
        commands,
        "test",
        "Run the tests that documents carry, with canned replies: no model, no network.",
        """\
  flowyard test triage.yaml
  flowyard test flows/*.yaml -k invoice

A test in a document:
  tests:
    - name: writes about rain
      inputs: {topic: rain}
      replies: {write: "Soft rain on the roof"}
      expect: {outputs: {poem: "Soft rain on the roof"}}""",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="workflows")
    parser.add_argument("-k", metavar="WORD", default="", help="only tests whose name holds this word")


def _graph(commands: Any) -> None:
    parser = _command(
        commands,
        "graph",
        "Draw a workflow.",
        """\
  flowyard graph triage.yaml
  flowyard graph triage.yaml --format mermaid > triage.mmd""",
    )
    parser.add_argument("file", metavar="FILE", help="a workflow; - reads standard input")
    parser.add_argument("--format", choices=("ascii", "mermaid"), default="ascii", help="ascii if left out")


def _schema(commands: Any) -> None:
    _command(
        commands,
        "schema",
        "Print the JSON Schema of the language, for editors.",
        """\
  flowyard schema > flowyard.schema.json

and as the first line of a document, for editors with the YAML language server:
  # yaml-language-server: $schema=./flowyard.schema.json""",
    )


def _init(commands: Any) -> None:
    parser = _command(
        commands,
        "init",
        "Write a commented workflow that runs as it is.",
        """\
  flowyard init haiku
  flowyard init flows/haiku.yaml""",
    )
    parser.add_argument("name", metavar="NAME", help="name of the workflow, or of the file")
    parser.add_argument("--force", action="store_true", help="overwrite the file if there is one")


# The stack: what starts it and ends it.


def _up(commands: Any) -> None:
    parser = _command(
        commands,
        "up",
        "Start Flowyard on this machine: Postgres, NATS and the services, supervised until Ctrl-C.",
        """\
  flowyard up
  flowyard up --detach
  flowyard up --data ./data --port 9400 --executors 4
  FLOWYARD_DATABASE_URL=postgresql://… flowyard up    on a Postgres that is there already

The first start makes an API key, shows it once, and keeps it for the flowyard command itself. Everything
listens on 127.0.0.1. FLOWYARD_DATABASE_URL and FLOWYARD_NATS_URL name servers to use instead of own ones.
Logs of each service are in DIR/logs. Ctrl-C ends everything in order; a second one, at once.""",
    )
    _data(parser)
    parser.add_argument("--executors", metavar="N", type=_executors, help="processes that execute runs (default: 1)")
    parser.add_argument(
        "--port", metavar="P", type=_port, help="of the gateway; the dashboard gets the next (default: 8400; 0: any)"
    )
    parser.add_argument("--detach", action="store_true", help="return when all is healthy, and leave it running")
    parser.add_argument("--json-logs", action="store_true", help="show log lines as JSON, and nothing else on stdout")


def _down(commands: Any) -> None:
    parser = _command(
        commands,
        "down",
        "End what `flowyard up` started, in order.",
        """\
  flowyard down
  flowyard down --data ./data

Waits until all has ended. Where nothing runs it says so, and ends what a killed `flowyard up` left behind.""",
    )
    _data(parser)


def _migrate(commands: Any) -> None:
    parser = _command(
        commands,
        "migrate",
        "Bring the tables of a database to this version.",
        """\
  FLOWYARD_DATABASE_URL=postgresql://user:password@host/database flowyard migrate

`flowyard up` does so by itself. Services refuse to start on any other version of the tables.""",
    )
    parser.add_argument(
        "--keys-from",
        metavar="DIR",
        help="also make these API keys valid: files NAME.SCOPE, each with one key that was made elsewhere",
    )


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="where all is kept (default: $FLOWYARD_DATA, or ~/.local/share/flowyard; root: /var/lib/flowyard)",
    )


def _executors(text: str) -> int:
    return _between(text, 1, 64)


def _port(text: str) -> int:
    # The dashboard gets the next one.
    return _between(text, 0, 65534)


def _between(text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"should be a number from {least} to {most}, not '{text}'")
