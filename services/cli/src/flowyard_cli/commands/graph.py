"""`flowyard graph`: draws a workflow."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Final, Literal

from flowyard.language.drawing import ascii_drawing, mermaid
from flowyard_cli import exits
from flowyard_cli.grammar import carry_out, examples
from flowyard_cli.reading import read_document
from flowyard_embedded.streams import put, say

_EXAMPLES: Final = """\
  flowyard graph triage.yaml
  flowyard graph triage.yaml --format mermaid > triage.mmd"""


@dataclass(frozen=True)
class GraphArgs:
    file: str
    format: Literal["ascii", "mermaid"]


def add(parser: argparse.ArgumentParser) -> None:
    examples(parser, _EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="a workflow; - reads standard input")
    parser.add_argument("--format", choices=("ascii", "mermaid"), default="ascii", help="default: ascii")
    carry_out(parser, GraphArgs, execute)


def execute(args: GraphArgs) -> int:
    document = read_document(args.file)
    for problem in document.problems:
        say(problem.render(document.file))
    if document.workflow is None:
        return exits.WRONG_INPUT
    put(mermaid(document.workflow) if args.format == "mermaid" else ascii_drawing(document.workflow))
    return exits.OK
