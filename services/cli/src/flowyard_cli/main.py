"""The process's top: reads the command line, runs one command, turns every error into a message and an exit code.

Modules are imported inside the functions, so that Ctrl-C during the imports finds somebody who can take it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

_QUIET = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "true",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGGRAPH_STRICT_MSGPACK": "true",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
}
"""Nothing phones home, whatever the environment says."""


def main(argv: list[str] | None = None) -> None:
    """The console script. Ends the process with one of the codes in `exits`."""
    os.environ.update(_QUIET)
    try:
        code = _run_to_the_end(argv)
    except KeyboardInterrupt:
        code = _interrupted_early(argv)
    # Python's own way out takes 0.5 to 2 s to tear down LangGraph and LiteLLM. Nothing is lost without it: what a
    # command opens (models, the local server, progress) is a block that it has left by now; the streams are flushed.
    os._exit(code)


def run_command(argv: list[str] | None) -> int:
    """The exit code. Errors have been told, but for wrong usage: there argparse raises SystemExit, as for `--help`.

    Raises UnwritableOutput if an error can't be told.
    """
    from flowyard_cli import exits  # noqa: PLC0415  # inline: see above
    from flowyard_cli.arguments import build_parser  # noqa: PLC0415
    from flowyard_cli.failures import tell  # noqa: PLC0415
    from flowyard_embedded.startup import quick_imports  # noqa: PLC0415

    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return exits.OK
    try:
        with quick_imports():
            command = import_module(f"flowyard_cli.commands.{args.command.replace('-', '_')}")
        code: int = command.execute(args)
        return code
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  # the process's top: no traceback reaches a user
        return tell(error, as_json=getattr(args, "json", False))


def _run_to_the_end(argv: list[str] | None) -> int:
    from flowyard_cli.failures import tell  # noqa: PLC0415
    from flowyard_embedded import streams  # noqa: PLC0415  # inline: see above

    streams.make_safe()
    try:
        try:
            code = run_command(argv)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        streams.flush()
    except streams.UnwritableOutput as error:
        return tell(error, as_json=False)
    return code


def _interrupted_early(argv: list[str] | None) -> int:
    """Ctrl-C before there was a command that could have said so. The streams may not be ready either."""
    wants_json = "--json" in (sys.argv if argv is None else argv)
    try:  # noqa: SIM105  # contextlib would be an import during which nobody takes Ctrl-C
        os.write(1 if wants_json else 2, b'{"status": "cancelled"}\n' if wants_json else b"flowyard: cancelled\n")
    except OSError:
        pass
    return 130
