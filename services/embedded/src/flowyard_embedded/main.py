"""The process's top: reads the command line, runs one command, turns every error into a message and an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from flowyard.errors import FlowyardError, InvalidInputs
from flowyard_embedded import exits
from flowyard_embedded.arguments import build_parser
from flowyard_embedded.startup import quick_imports

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


def main(argv: Sequence[str] | None = None) -> None:
    """The console script. Ends the process with one of the codes in `exits`."""
    os.environ.update(_QUIET)
    sys.exit(run_command(argv))


def run_command(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return exits.OK
    try:
        # By name, so that a command pays only for what it imports itself.
        with quick_imports():
            command = import_module(f"flowyard_embedded.commands.{args.command}")
        code: int = command.execute(args)
        sys.stdout.flush()
    except InvalidInputs as error:
        for problem in error.problems:
            print(f"flowyard: {problem}", file=sys.stderr)
        return exits.WRONG_INPUT
    except FlowyardError as error:
        print(f"flowyard: {error}", file=sys.stderr)
        return exits.WRONG_INPUT
    except KeyboardInterrupt:
        print("flowyard: cancelled", file=sys.stderr)
        return exits.CANCELLED
    except BrokenPipeError:
        # Whoever read our output has gone; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except Exception as error:  # noqa: BLE001  # the process's top: no traceback ever reaches a user
        return _internal_error(error)
    return code


def _internal_error(error: Exception) -> int:
    report = Path(tempfile.gettempdir()) / f"flowyard-error-{os.getpid()}.txt"
    report.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
    print(f"flowyard: internal error: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"flowyard: this is a bug; what we need to fix it is in {report}", file=sys.stderr)
    return exits.INTERNAL


if __name__ == "__main__":
    main()
