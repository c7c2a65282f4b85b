"""Reads what commands get as files: documents, and the inputs of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs
from flowyard.exact_json import json_fault, json_fault_in_words
from flowyard.language.inputs import input_from_text, valid_inputs
from flowyard.language.installation import ANY, Installation
from flowyard.language.load import Loaded, load_bytes
from flowyard.language.problems import did_you_mean
from flowyard.language.reading.source import MAX_BYTES
from flowyard.language.workflow import Workflow


class UnreadableFile(FlowyardError, code="unreadable_file"):
    """A file of a command can't be read or written."""

    def __init__(self, path: str, error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        if isinstance(error, IsADirectoryError):
            reason = "is a directory, not a file"
        near = _near(path) if isinstance(error, FileNotFoundError) else None
        super().__init__(f"{path}: {reason}" + (f" ({near})" if near else ""))


def _near(path: str) -> str | None:
    try:
        return did_you_mean(Path(path).name, [p.name for p in Path(path).parent.iterdir()])
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Text:
    """A document that isn't parsed yet. `file`: its name in messages."""

    file: str
    content: bytes


def read_text(file: str) -> Text:
    """`-` is standard input. Raises UnreadableFile."""
    # One byte more than allowed is enough for the error, even if the file never ends.
    return Text("<stdin>" if file == "-" else str(Path(file)), read_bytes(file, MAX_BYTES + 1))


def read_document(file: str, installation: Installation = ANY) -> Loaded:
    """`-` is standard input; `installation`: where the document is to run. Raises UnreadableFile."""
    text = read_text(file)
    return load_bytes(text.content, text.file, installation)


def read_bytes(file: str, limit: int = -1) -> bytes:
    """At most `limit` bytes, if that isn't negative. `-` is standard input. Raises UnreadableFile."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(limit)
        with Path(file).open("rb") as opened:
            return opened.read(limit)
    except OSError as error:
        raise UnreadableFile("<stdin>" if file == "-" else file, error) from error


def read_inputs(workflow: Workflow, given: Sequence[str], file: str | None) -> dict[str, Any]:
    """The inputs of a run. `given`: NAME=VALUE each; `file`: a JSON object. Raises InvalidInputs, UnreadableFile."""
    inputs = dict(_from_file(file)) if file is not None else {}
    faults = []
    seen: set[str] = set()
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            faults.append(f"-i {text}: write NAME=VALUE")
        elif name in seen:
            faults.append(f"{name}: given twice")
        else:
            seen.add(name)
            field = workflow.fields.get(name)
            inputs[name] = input_from_text(field.type, value) if field else value
    if faults:
        raise InvalidInputs(faults)
    return valid_inputs(workflow, inputs)


def _from_file(file: str) -> Mapping[str, Any]:
    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
            raise InvalidInputs([f"{file}: {twice}: given twice"])
        return dict(pairs)

    try:
        # Editors on Windows write a byte order mark, which JSON doesn't allow.
        data = json.loads(read_bytes(file).decode("utf-8-sig"), object_pairs_hook=without_duplicates)
    except UnicodeDecodeError as error:
        raise InvalidInputs([f"{file}: not UTF-8"]) from error
    except json.JSONDecodeError as error:
        raise InvalidInputs(
            [f"{file}:{error.lineno}:{error.colno}: no JSON: {json_fault_in_words(error.msg)}"]
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputs([f"{file}: no JSON: {json_fault(error)}"]) from error
    if not isinstance(data, dict):
        raise InvalidInputs([f'{file}: expected an object such as {{"topic": "rain"}}'])
    return data
