"""The language's door: a document in, a Workflow or every problem out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard.language.building.build import build
from flowyard.language.problems import Problem
from flowyard.language.reading.places import MAX_PROBLEMS, Places, TooManyProblems
from flowyard.language.reading.shape import read_shape
from flowyard.language.reading.source import MAX_BYTES, SourceError, decode, read_tree
from flowyard.language.reading.surrogates import Joined, join_surrogates
from flowyard.language.workflow import Workflow

# What such a value should be instead isn't worth a second problem.
_TRAPS: Final = ("boolean-word", "bad-number")


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
    with path.open("rb") as file:
        return load_bytes(file.read(MAX_BYTES + 1), str(path))


def load_bytes(data: bytes, file: str) -> Loaded:
    try:
        return load_text(decode(data), file)
    except SourceError as error:
        return Loaded(file, None, (error.problem,))


def load_text(text: str, file: str) -> Loaded:
    """`file` is what problems are called by."""
    joined = join_surrogates(text) if len(text) <= MAX_BYTES else Joined(text)
    try:
        tree = read_tree(joined.text)
    except SourceError as error:
        return Loaded(file, None, (joined.as_written(error.problem),))
    places = Places(tree.root, tree.problems)
    workflow = _checked(places)
    problems = tuple(joined.as_written(problem) for problem in _in_order(places.problems))
    broken = any(p.severity == "error" for p in problems)
    return Loaded(file, None if broken else workflow, problems)


def _checked(places: Places) -> Workflow | None:
    if len(set(places.problems)) > MAX_PROBLEMS:
        return None
    try:
        shape = read_shape(places)
        return build(shape, places) if shape is not None else None
    except TooManyProblems:
        return None


def _in_order(found: list[Problem]) -> tuple[Problem, ...]:
    trapped = {p.position for p in found if p.code in _TRAPS}
    told = list(dict.fromkeys(found))
    errors = [p for p in told if p.severity == "error"]
    shown = [*errors[:MAX_PROBLEMS], *(p for p in told if p.severity == "warning")]
    kept = [p for p in shown if p.code in _TRAPS or p.position not in trapped]
    problems = sorted(kept, key=lambda p: (p.position, p.code))
    if len(errors) > MAX_PROBLEMS:
        message = f"the document has more than {MAX_PROBLEMS} problems: these are the first that were found"
        problems.append(Problem("too-many-problems", message, problems[-1].position, "correct these, then check again"))
    return tuple(problems)
