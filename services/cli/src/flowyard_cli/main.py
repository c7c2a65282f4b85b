"""The list of commands, and the process's top: runs a command, turns every error into a message and an exit code.

Most modules are imported inside the functions: Ctrl-C during an import must end in a message, and `flowyard --help`
must not wait for what only some command needs. Therefore the file of a command is imported only when its name is given.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Final

from flowyard.no_telemetry import forbid_telemetry

COMMANDS: Final[Mapping[str, str]] = {
    "run": "Run a workflow, and show its outputs, duration and cost.",
    "validate": "Check documents, without running anything.",
    "test": "Run the tests that documents carry, with canned replies: no model, no network.",
    "graph": "Draw a workflow.",
    "tools": "List the tools that workflows may call, show one, and call it.",
    "schema": "Print the JSON Schema of the language, for editors.",
    "init": "Write a commented workflow that runs as it is.",
    "assistant": "Print the workflow that writes workflows, or give it to the stack.",
    "up": "Start Flowyard on this machine: Postgres, NATS and the services, supervised until Ctrl-C.",
    "down": "Stop everything that `flowyard up` started, in order.",
    "migrate": "Migrate the tables of a database to this version of Flowyard.",
    "apply": "Give documents to the stack: each becomes a workflow, or a new revision of one.",
    "workflows": "List, show, compare, roll back and delete the workflows of the stack.",
    "runs": "List the runs of the stack; follow one, cancel, retry or fork it.",
    "ask": "Ask why a run has failed, or what became of it; the answer names its sources.",
    "triggers": "List, show, pause and try the triggers of workflows; show and replay what came for them.",
    "hooks": "Send a signed webhook to the stack, as its sender would: to try a workflow out.",
    "notifications": "List the webhooks that are sent when runs have ended; send them again, enable receivers.",
    "chat": "Talk to a workflow of the stack that is a model.",
    "chats": "List, show and delete your conversations with workflows that are models.",
    "mcp": "Serve the stack as MCP over standard input and output, for assistants on this machine.",
    "agents": "List the agents that have registered: executors, and programs elsewhere.",
    "keys": "Create, list, rotate and revoke API keys. This needs a key with the scope admin.",
    "audit": "Show and export who did what, and check that nothing was changed. Needs a key with the scope admin.",
    "logs": "Show the newest log lines of all services, or the events and log lines of one run.",
    "status": "Show whether the stack is healthy: services, executors, runs that wait.",
    "cost-report": "Show what model calls cost, and the most expensive of them.",
    "profile-report": "Show where the time of runs went, and their bottlenecks.",
}
"""Each is a file in `commands`: `add(parser)` adds its options, and says what carries it out."""

_ABOUT: Final = "Flowyard runs workflows of LLM agents, written in YAML, on your own machine."
_START: Final = """\
start here:
  flowyard init haiku                      write a commented workflow, haiku.yaml
  flowyard run haiku.yaml -i topic=rain    run it on a small local model: no key, no network
  flowyard validate haiku.yaml             check the document for mistakes, before it costs anything

with a stack of services, which stores every run:
  flowyard up --detach                     start Postgres, NATS and the services on this machine
  flowyard apply haiku.yaml                store the workflow in the stack
  flowyard run haiku -i topic=rain         run it in the stack, by its name; `flowyard runs` lists the runs

exit codes: 0 done, 1 the run or the stack failed, 2 the document, the inputs or the command are wrong, 130 cancelled
"""


def main(argv: Sequence[str] | None = None) -> None:
    """The console script. Ends the process with one of the codes in `exits`."""
    forbid_telemetry()
    words = sys.argv[1:] if argv is None else argv
    try:
        code = _run_to_the_end(words)
    except KeyboardInterrupt:
        code = _interrupted_early(words)
    # Python's own exit takes 0.5 to 2 s to tear down LangGraph and LiteLLM. Nothing is lost without it: the blocks in
    # which a command opens models, the local server and progress have ended by now, and the streams are flushed.
    os._exit(code)


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of the whole command line, with the options of `command` only."""
    parser = argparse.ArgumentParser(
        prog="flowyard", description=_ABOUT, epilog=_START, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"flowyard {version('flowyard-cli')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        added = commands.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == command:
            import_module(f"flowyard_cli.commands.{name.replace('-', '_')}").add(added)
    return parser


def run_command(words: Sequence[str]) -> int:
    """Returns the exit code. Errors are printed; wrong usage and `--help` raise SystemExit, as argparse does.

    Raises UnwritableOutput if an error can't be printed.
    """
    from flowyard_cli import exits  # noqa: PLC0415  # inline: see above
    from flowyard_cli.failures import report  # noqa: PLC0415
    from flowyard_cli.grammar import arguments  # noqa: PLC0415
    from flowyard_embedded.startup import quick_imports  # noqa: PLC0415

    namespace = None
    try:
        with quick_imports():
            parser = build_parser(next((word for word in words if not word.startswith("-")), None))
        namespace = parser.parse_args(words)
        if namespace.command is None:
            parser.print_help()
            return exits.OK
        code: int = namespace.work(arguments(namespace.kind, namespace))
        return code
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  # the process's top: no traceback reaches a user
        return report(error, as_json=getattr(namespace, "json", "--json" in words))


def _run_to_the_end(words: Sequence[str]) -> int:
    from flowyard_cli.failures import report  # noqa: PLC0415  # inline: see above
    from flowyard_embedded import streams  # noqa: PLC0415

    streams.make_safe()
    try:
        try:
            code = run_command(words)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        streams.flush()
    except streams.UnwritableOutput as error:
        return report(error, as_json=False)
    return code


def _interrupted_early(words: Sequence[str]) -> int:
    """Ctrl-C before a command could print a message. The streams may not be ready either."""
    as_json = "--json" in words
    try:  # noqa: SIM105  # importing contextlib could be interrupted once more
        os.write(1 if as_json else 2, b'{"status": "cancelled"}\n' if as_json else b"flowyard: cancelled\n")
    except OSError:
        pass
    return 130
