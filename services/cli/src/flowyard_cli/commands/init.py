"""`flowyard init`: writes a workflow to begin with."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from flowyard.errors.requests import InvalidInputs
from flowyard_cli import exits
from flowyard_cli.grammar import carry_out, examples
from flowyard_cli.reading import UnreadableFile
from flowyard_embedded.streams import put

_EXAMPLES: Final = """\
  flowyard init haiku
  flowyard init flows/haiku.yaml"""
_LONGEST_NAME: Final = 128


@dataclass(frozen=True)
class InitArgs:
    name: str
    force: bool


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    parser.add_argument("name", metavar="NAME", help="the name of the workflow, or of its file")
    parser.add_argument("--force", action="store_true", help="overwrite the file if it exists")
    carry_out(parser, InitArgs, execute)


def execute(args: InitArgs) -> int:
    name = workflow_name(args.name)
    path = Path(args.name if args.name.endswith((".yaml", ".yml")) else f"{args.name}.yaml")
    # Without ./ a command would read it as an option.
    shown = shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
    _write(path, starter(name, shown), overwrite=args.force)
    put(f"wrote {path}\n\n  flowyard run {shown} -i topic=rain\n  flowyard test {shown}")
    return exits.OK


def workflow_name(given: str) -> str:
    """The name of the workflow in the file `given`. Raises InvalidInputs."""
    last = re.sub(r"\.ya?ml\Z", "", given.rpartition("/")[2])
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", last).strip("_")[:_LONGEST_NAME]
    if not name or not given.isprintable():
        raise InvalidInputs([f"{given!r} can't be the name of a workflow (use letters, digits, - and _)"])
    return name


def starter(name: str, file: str) -> str:
    """The document that `init` writes. `file`: its path, quoted for a shell."""
    text = files("flowyard_cli").joinpath("starter.yaml").read_text(encoding="utf-8")
    return re.sub(r"NAME(\.yaml)?", lambda match: file if match[1] else json.dumps(name), text)


def _write(path: Path, text: str, *, overwrite: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnreadableFile(str(path.parent), error) from error
    try:
        with path.open("w" if overwrite else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InvalidInputs([f"{path} exists already (overwrite it with --force)"]) from error
    except OSError as error:
        raise UnreadableFile(str(path), error) from error
