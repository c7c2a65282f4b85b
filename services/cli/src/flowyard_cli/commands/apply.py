"""`flowyard apply`: documents become workflows of the stack."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from flowyard.api.client import Client
from flowyard.api.workflows import Applied, Validated
from flowyard_cli import exits
from flowyard_cli.remote.documents import Document, read_text, rendered
from flowyard_cli.remote.stack import at_the_stack
from flowyard_cli.remote.tables import as_data
from flowyard_cli.show.format import plural
from flowyard_embedded.streams import print_json, put, say


def execute(args: argparse.Namespace) -> int:
    """`args`: files."""
    return at_the_stack(args, _apply)


def _apply(client: Client, args: argparse.Namespace) -> int:
    documents = [read_text(file) for file in args.files]
    # All are looked at before the first one is applied: the stack has all of them then, or none.
    found = [client.validate(document.text) for document in documents]
    if not all(one.valid for one in found):
        return _refuse(args, documents, found)
    applied = [
        client.apply(one.name, document.text)
        for document, one in zip(documents, found, strict=True)
        if one.name is not None
    ]
    if args.json:
        files = [document.file for document in documents]
        print_json({"applied": [{"file": file, **as_data(one)} for file, one in zip(files, applied, strict=True)]})
        return exits.OK
    for document, one in zip(documents, applied, strict=True):
        for warning in one.warnings:
            say(rendered(as_data(warning), document.file))
        put(_told(one))
    return exits.OK


def _told(applied: Applied) -> str:
    return f"{applied.name}: revision {applied.revision}, {'created' if applied.created else 'unchanged'}"


def _refuse(args: argparse.Namespace, documents: Sequence[Document], found: Sequence[Validated]) -> int:
    """As `validate` does."""
    problems = [
        {**as_data(problem), "file": document.file}
        for document, one in zip(documents, found, strict=True)
        for problem in one.problems
    ]
    if args.json:
        print_json({"status": "invalid", "problems": problems})
        return exits.WRONG_INPUT
    for document, one in zip(documents, found, strict=True):
        for problem in one.problems:
            put(rendered(as_data(problem), document.file))
        errors = sum(problem.severity == "error" for problem in one.problems)
        put(f"{document.file}: {'ok' if one.valid else plural(errors, 'error')}")
    say("flowyard: nothing was applied")
    return exits.WRONG_INPUT
