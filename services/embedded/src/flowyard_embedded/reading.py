"""What commands read: documents, and the inputs of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowyard.errors import FlowyardError, InvalidInputs
from flowyard.language.inputs import input_from_text, valid_inputs
from flowyard.language.load import Loaded, load_bytes, load_file
from flowyard.language.problems import did_you_mean
from flowyard.language.workflow import Workflow


class UnreadableFile(FlowyardError):
    """A file that a command was given can't be read."""

    code = "unreadable_file"

    def __init__(self, path: str, error: OSError) -> None:
        near = _near(path) if isinstance(error, FileNotFoundError) else None
        super().__init__(f"{path}: {(error.strerror or str(error)).lower()}" + (f" ({near})" if near else ""))


def _near(path: str) -> str | None:
    folder = Path(path).parent
    return did_you_mean(Path(path).name, [p.name for p in folder.iterdir()]) if folder.is_dir() else None


def read_document(file: str) -> Loaded:
    """Raises UnreadableFile."""
    if file == "-":
        return load_bytes(sys.stdin.buffer.read(), "<stdin>")
    try:
        return load_file(Path(file))
    except OSError as error:
        raise UnreadableFile(file, error) from error


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
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableFile(file, error) from error
    except UnicodeDecodeError as error:
        raise InvalidInputs([f"{file}: not UTF-8"]) from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInputs([f"{file}:{error.lineno}:{error.colno}: no JSON: {error.msg}"]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputs([f"{file}: no JSON: {error}"]) from error
    if not isinstance(data, dict):
        raise InvalidInputs([f'{file}: expected an object such as {{"topic": "rain"}}'])
    return data
