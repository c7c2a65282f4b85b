"""From a path such as `('nodes', 2, 'prompt')` to a position in the text, and a list to report problems to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from flowyard.language.problems import Position, Problem
from flowyard.language.reading.source import Mapping, Scalar, Sequence, YamlNode
from flowyard.language.values.references import Finding

Path: TypeAlias = tuple[str | int, ...]
MAX_PROBLEMS: Final = 100
# Whether a name is known can't be told when the part that would make it known is broken.
_ABOUT_NAMES: Final = {"state": ("unknown-field", "undeclared-output", "invalid-inputs"), "nodes": ("unknown-node",)}


class TooManyProblems(Exception):
    """Nobody reads that many, and finding them all takes its time."""


@dataclass(slots=True)
class Places:
    """The tree of a document and what has been found wrong with it."""

    root: Mapping
    problems: list[Problem] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    """The top-level keys that lost a part, so that what follows from the loss isn't reported too; `ids`: nodes' names
    that were missing.
    """
    gaps: set[Position] = field(default_factory=set)
    """The mappings that lost a key, by where they begin: what they lack may be that key, misspelled."""

    _told: set[Problem] = field(default_factory=set)
    _errors: int = 0

    def node(self, path: Path) -> YamlNode:
        """The node at `path`. A step that isn't there is skipped: short forms have fewer levels than long ones."""
        node: YamlNode = self.root
        for step in path:
            node = _child(node, step) or node
        return node

    def value(self, path: Path) -> Position:
        return self.node(path).position

    def key(self, path: Path) -> Position:
        """Where the last key of `path` stands; the value itself for an item of a list."""
        parent = self.node(path[:-1])
        if isinstance(parent, Mapping) and path and path[-1] in parent.entries:
            return parent.entries[str(path[-1])].key.position
        return self.node(path).position

    def has(self, path: Path) -> bool:
        node: YamlNode | None = self.root
        for step in path:
            node = _child(node, step) if node is not None else None
        return node is not None

    def lost_a_key(self, path: Path) -> bool:
        return self.value(path) in self.gaps

    def deepest(self, path: Path, steps: str) -> Path:
        """`path` and as many of the steps behind it (`.ages[2]: …`) as the document has."""
        node = self.node(path)
        children: list[tuple[str, str | int]] = []
        if isinstance(node, Mapping):
            children = [(f".{name}", name) for name in node.entries]
        elif isinstance(node, Sequence):
            children = [(f"[{i}]", i) for i in range(len(node.items))]
        for text, step in children:
            if steps.startswith(text) and steps[len(text) : len(text) + 1] in (".", "[", ":"):
                return self.deepest((*path, step), steps[len(text) :])
        return path

    def error(self, code: str, path: Path, message: str, suggestion: str | None = None, *, key: bool = False) -> None:
        """Reports at the value of `path`, or at its key."""
        position = self.key(path) if key else self.value(path)
        self._add(Problem(code, message, position, suggestion))

    def warn(self, code: str, path: Path, message: str, suggestion: str | None = None) -> None:
        self._add(Problem(code, message, self.key(path), suggestion, "warning"))

    def inside(self, path: Path, finding: Finding) -> None:
        """Reports something inside a text, at the character itself."""
        node = self.node(path)
        position = node.at(finding.offset) if isinstance(node, Scalar) else node.position
        self._add(Problem(finding.code, finding.message, position, finding.suggestion))

    def _add(self, problem: Problem) -> None:
        if any(problem.code in codes and part in self.damaged for part, codes in _ABOUT_NAMES.items()):
            return
        if problem in self._told:
            return
        self._told.add(problem)
        self.problems.append(problem)
        self._errors += problem.severity == "error"
        if self._errors > MAX_PROBLEMS:
            raise TooManyProblems


def _child(node: YamlNode, step: str | int) -> YamlNode | None:
    if isinstance(node, Mapping):
        entry = node.entries.get(str(step))
        return entry.value if entry else None
    if isinstance(node, Sequence) and isinstance(step, int):
        return node.items[step] if step < len(node.items) else None
    return None


def plain(node: YamlNode) -> Any:
    """The data of a tree."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {name: plain(entry.value) for name, entry in node.entries.items()}
