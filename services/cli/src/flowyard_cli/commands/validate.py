"""`flowyard validate`: checks documents, as text, JSON or SARIF."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from flowyard.language.load import Loaded
from flowyard_cli import exits
from flowyard_cli.grammar import carry_out, examples, files_argument
from flowyard_cli.installation import installation_of
from flowyard_cli.reading import UnreadableFile, read_document
from flowyard_cli.show.format import plural
from flowyard_cli.show.problems import problems_as_data, sarif
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard validate triage.yaml
  flowyard validate flows/*.yaml --format sarif > problems.sarif

Each problem has its file, line and column: triage.yaml:9:12: no node 'wirte' (did you mean 'write'?) [unknown-node]"""


@dataclass(frozen=True)
class ValidateArgs:
    files: Sequence[str]
    format: Literal["text", "json", "sarif"]


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    files_argument(parser)
    parser.add_argument(
        "--format", choices=("text", "json", "sarif"), default="text", help="sarif is read by code hosts and editors"
    )
    carry_out(parser, ValidateArgs, execute)


def execute(args: ValidateArgs) -> int:
    documents: list[Loaded] = []
    installation = installation_of(os.environ)
    unreadable = False
    for file in args.files:
        try:
            documents.append(read_document(file, installation))
        except UnreadableFile as error:
            say(f"flowyard: {error}")
            unreadable = True
    if args.format == "json":
        print_json([problem for d in documents for problem in problems_as_data(d)])
    elif args.format == "sarif":
        print_json(sarif(documents))
    else:
        for document in documents:
            _print_text(document)
    return exits.WRONG_INPUT if unreadable or any(d.errors for d in documents) else exits.OK


def _print_text(document: Loaded) -> None:
    for problem in document.problems:
        put(problem.render(document.file))
    if document.workflow is not None:
        nodes = len(document.workflow.nodes)
        warnings = f", {plural(len(document.warnings), 'warning')}" if document.warnings else ""
        put(f"{document.file}: ok ({plural(nodes, 'node')}{warnings})")
    else:
        put(f"{document.file}: {plural(len(document.errors), 'error')}")
