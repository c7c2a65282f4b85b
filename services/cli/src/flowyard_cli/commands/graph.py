"""`flowyard graph`."""

from __future__ import annotations

import argparse

from flowyard_cli import exits
from flowyard_cli.reading import read_document
from flowyard_cli.show.drawing import ascii_drawing, mermaid
from flowyard_embedded.streams import put, say


def execute(args: argparse.Namespace) -> int:
    document = read_document(args.file)
    for problem in document.problems:
        say(problem.render(document.file))
    if document.workflow is None:
        return exits.WRONG_INPUT
    put(mermaid(document.workflow) if args.format == "mermaid" else ascii_drawing(document.workflow))
    return exits.OK
