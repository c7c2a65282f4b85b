"""What commands read: documents, and the inputs of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowyard.errors import FlowyardError, InvalidInputs
from flowyard.language.inputs import input_from_text, valid_inputs
from flowyard.language.load import Loaded, load_bytes
from flowyard.language.problems import did_you_mean
from flowyard.language.reading.source import MAX_BYTES
from flowyard.language.workflow import Workflow


class UnreadableFile(FlowyardError):
    """A file that a command was given can't be read, or not be written."""

    code = "unreadable_file"

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


def read_document(file: str) -> Loaded:
    """Raises UnreadableFile."""
    # One byte more than allowed is enough to be told so, even if the file has no end.
    return load_bytes(_read_bytes(file, MAX_BYTES + 1), "<stdin>" if file == "-" else str(Path(file)))


def _read_bytes(file: str, limit: int = -1) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read(limit)
        with Path(file).open("rb") as opened:
            return opened.read(limit)
    except OSError as error:
        raise UnreadableFile("<stdin>" if file == "-" else file, error) from error


def read_inputs(workflow: Workflow, given: Sequence[str], file: str | None) -> dict[str, Any]:
    """The inputs of a run out of `-i` and `--inputs`. Raises InvalidInputs with every fault, or UnreadableFile."""
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
            found = workflow.fields.get(name)
            inputs[name] = input_from_text(found.type, value) if found else value
    if faults:
        raise InvalidInputs(faults)
    return valid_inputs(workflow, inputs)


def _from_file(file: str) -> Mapping[str, Any]:
    try:
        # Windows writes a byte order mark, which JSON doesn't know.
        data = json.loads(_read_bytes(file).decode("utf-8-sig"), object_pairs_hook=_without_twins)
    except UnicodeDecodeError as error:
        raise InvalidInputs([f"{file}: not UTF-8"]) from error
    except json.JSONDecodeError as error:
        raise InvalidInputs([f"{file}:{error.lineno}:{error.colno}: no JSON: {error.msg}"]) from error
    except _GivenTwice as error:
        raise InvalidInputs([f"{file}: {error}"]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputs([f"{file}: no JSON: {error}"]) from error
    if not isinstance(data, dict):
        raise InvalidInputs([f'{file}: expected an object such as {{"topic": "rain"}}'])
    return data


class _GivenTwice(Exception):
    """A key stands twice in one JSON object."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _GivenTwice(f"{name}: given twice")
        found[name] = value
    return found
