"""`flowyard apply`: documents become workflows of the stack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowyard.api.client import Client
from flowyard.api.workflows import Validated
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, carry_out, files_argument, stack_command
from flowyard_cli.reading import Text, read_text
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.show.format import plural
from flowyard_cli.show.problems import render_problem
from flowyard_cli.show.tables import as_data
from flowyard_embedded.streams import print_json, put, say

_EXAMPLES: Final = """\
  flowyard apply triage.yaml
  flowyard apply flows/*.yaml && flowyard run triage -i message='My invoice is wrong'

A document that is already the current one changes nothing. If one of them has errors, none is applied."""


@dataclass(frozen=True, kw_only=True)
class ApplyArgs(StackArgs):
    files: Sequence[str]


def add(parser: argparse.ArgumentParser) -> None:
    stack_command(parser, _EXAMPLES)
    files_argument(parser)
    carry_out(parser, ApplyArgs, partial(at_the_stack, _apply))


def _apply(client: Client, args: ApplyArgs) -> int:
    documents = [read_text(file) for file in args.files]
    # All are validated before the first one is applied: so either all are applied, or none.
    results = [client.validate(document.content) for document in documents]
    if not all(result.valid for result in results):
        return _refuse(documents, results, as_json=args.json)
    applied = [
        client.apply(result.name, document.content)
        for document, result in zip(documents, results, strict=True)
        if result.name is not None
    ]
    if args.json:
        files = [document.file for document in documents]
        print_json({"applied": [{"file": file, **as_data(each)} for file, each in zip(files, applied, strict=True)]})
        return exits.OK
    for document, each in zip(documents, applied, strict=True):
        for warning in each.warnings:
            say(render_problem(as_data(warning), document.file))
        put(f"{each.name}: revision {each.revision}, {'created' if each.created else 'unchanged'}")
    return exits.OK


def _refuse(documents: Sequence[Text], results: Sequence[Validated], *, as_json: bool) -> int:
    """Prints the problems as `flowyard validate` does."""
    problems = [
        {**as_data(problem), "file": document.file}
        for document, result in zip(documents, results, strict=True)
        for problem in result.problems
    ]
    if as_json:
        print_json({"status": "invalid", "problems": problems})
        return exits.WRONG_INPUT
    for document, result in zip(documents, results, strict=True):
        for problem in result.problems:
            put(render_problem(as_data(problem), document.file))
        errors = sum(problem.severity == "error" for problem in result.problems)
        put(f"{document.file}: {'ok' if result.valid else plural(errors, 'error')}")
    say("flowyard: nothing was applied")
    return exits.WRONG_INPUT
