"""The language's door: a document in, a Workflow or every problem out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flowyard.language.build import build
from flowyard.language.places import Places
from flowyard.language.problems import Problem
from flowyard.language.shape import read_shape
from flowyard.language.source import SourceError, decode, read_tree
from flowyard.language.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a document. `workflow` is None if there are errors; warnings don't prevent it."""

    file: str
    workflow: Workflow | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "warning")


def load_file(path: Path) -> Loaded:
    """Raises OSError if the file can't be read."""
    return load_bytes(path.read_bytes(), str(path))


def load_bytes(data: bytes, file: str) -> Loaded:
    try:
        return load_text(decode(data), file)
    except SourceError as error:
        return Loaded(file, None, (error.problem,))


def load_text(text: str, file: str) -> Loaded:
    """`file` is what problems are called by."""
    try:
        tree = read_tree(text)
    except SourceError as error:
        return Loaded(file, None, (error.problem,))
    places = Places(tree.root, tree.problems)
    shape = read_shape(places)
    workflow = build(shape, places) if shape is not None else None
    problems = tuple(sorted(dict.fromkeys(places.problems), key=lambda p: (p.position, p.code)))
    broken = any(p.severity == "error" for p in problems)
    return Loaded(file, None if broken else workflow, problems)
