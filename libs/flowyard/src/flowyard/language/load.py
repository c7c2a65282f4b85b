"""Loads a document: returns a Workflow, or all problems of the document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flowyard.language.building.build import build
from flowyard.language.installation import ANY, Installation
from flowyard.language.problems import Problem
from flowyard.language.reading.shape import read_shape
from flowyard.language.reading.source import MAX_BYTES, SourceError, decode, read_tree
from flowyard.language.reading.source_document import MAX_PROBLEMS, SourceDocument, TooManyProblems, words_in
from flowyard.language.reading.surrogates import JoinedText, join_surrogates
from flowyard.language.workflow import Workflow

# A value with such a problem often has a wrong type as well: only the first problem is reported.
_AMBIGUOUS: Final = ("boolean-word", "bad-number", "bad-character")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded document. `workflow`: None if there are errors; `problems`: errors and warnings, by position."""

    file: str
    workflow: Workflow | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "warning")


def load_bytes(data: bytes, file: str, installation: Installation = ANY) -> Loaded:
    """Loads the bytes of a file. `file`: its name in messages; `installation`: where the document is to run."""
    try:
        return load_text(decode(data), file, installation)
    except SourceError as error:
        return Loaded(file, None, (error.problem,))


def load_text(text: str, file: str, installation: Installation = ANY) -> Loaded:
    """Loads a text. `file`: the file's name in messages; `installation`: where the document is to run."""
    joined = join_surrogates(text) if len(text) <= MAX_BYTES else JoinedText(text)
    try:
        tree = read_tree(joined.text)
    except SourceError as error:
        return Loaded(file, None, (joined.in_original(error.problem),))
    # Before broken parts are removed. Of a key that is there twice, the tree has only one value.
    words = None if tree.problems else words_in(tree.root, ("nodes", "edges", "result"))
    document = SourceDocument(tree.root, tree.problems, words=words)
    workflow = _build(document, installation)
    problems = tuple(joined.in_original(problem) for problem in _in_order(document.problems))
    has_errors = any(p.severity == "error" for p in problems)
    return Loaded(file, None if has_errors else workflow, problems)


def _build(document: SourceDocument, installation: Installation) -> Workflow | None:
    if len(set(document.problems)) > MAX_PROBLEMS:
        return None
    try:
        shape = read_shape(document)
        return build(shape, document, installation) if shape is not None else None
    except TooManyProblems:
        return None


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    ambiguous = {p.position for p in problems if p.code in _AMBIGUOUS}
    unique = list(dict.fromkeys(problems))
    errors = [p for p in unique if p.severity == "error"]
    warnings = [p for p in unique if p.severity == "warning"]
    shown = [*errors[:MAX_PROBLEMS], *warnings[:MAX_PROBLEMS]]
    kept = [p for p in shown if p.code in _AMBIGUOUS or p.position not in ambiguous]
    problems = sorted(kept, key=lambda p: (p.position, p.code))
    if len(errors) > MAX_PROBLEMS:
        message = f"the document has more than {MAX_PROBLEMS} problems: these are the first {MAX_PROBLEMS}"
        problems.append(Problem("too-many-problems", message, problems[-1].position, "correct these, then check again"))
    elif len(warnings) > MAX_PROBLEMS:
        message = f"the document has {len(warnings):,} warnings: these are the first {MAX_PROBLEMS}"
        position = problems[-1].position
        problems.append(Problem("too-many-problems", message, position, severity="warning"))
    return tuple(problems)
