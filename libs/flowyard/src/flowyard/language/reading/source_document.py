"""A document while it is read: finds its parts, and their positions in the text, by path, and collects its problems."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from flowyard.exact_json import MOST_PLACES, has_few_places
from flowyard.language.problems import KeyPath, Position, Problem
from flowyard.language.reading.source import MappingNode, ScalarNode, SequenceNode, YamlNode
from flowyard.language.values.references import Finding

MAX_PROBLEMS: Final = 100
_WORDS: Final = re.compile(r"\w+")
_ZERO: Final = re.compile(r"[-+]?0[xo]?[0._]*(?:[eE].*)?")
"""A number that is 0 as it is written: others may be too small for a float."""
# These problems may be consequences of a part that was removed because of another problem.
_ABOUT_NAMES: Final = {"state": ("unknown-field", "undeclared-output", "invalid-inputs"), "nodes": ("unknown-node",)}


class TooManyProblems(Exception):
    """Stops the checks: nobody reads more than MAX_PROBLEMS, and finding all of them may take long."""


@dataclass(slots=True)
class SourceDocument:
    """A document's tree and its problems."""

    root: MappingNode
    problems: list[Problem] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)
    """The top-level keys of which a broken part was removed, so that consequences of that aren't reported, too.

    `ids`: a node has no id.
    """
    removed_from: set[Position] = field(default_factory=set)
    """The positions of mappings from which a broken key was removed: it may be a misspelled form of a missing key."""

    patterns: set[str] = field(default_factory=set)
    """The different patterns of values that were read."""

    words: frozenset[str] | None = None
    """Every word of the parts that can use fields, as they are written, broken parts included. None: not known."""

    _reported: set[Problem] = field(default_factory=set)
    _errors: int = 0

    def node(self, path: KeyPath) -> YamlNode:
        """The node at `path`. A missing key is skipped, because short forms have fewer levels than long forms."""
        node: YamlNode = self.root
        for key in path:
            node = _child(node, key) or node
        return node

    def amount(self, path: KeyPath, given: float) -> Decimal:
        """The number at `path`, as it is written in the document: a float can't represent 0.1 exactly."""
        node = self.node(path)
        try:
            amount = Decimal(node.text) if isinstance(node, ScalarNode) else Decimal(str(given))
        except InvalidOperation:
            amount = Decimal(str(given))
        is_tiny = not amount and isinstance(node, ScalarNode) and not _ZERO.fullmatch(node.text)
        if is_tiny or not has_few_places(amount):
            message = f"'{path[-1]}' has more than {MOST_PLACES} decimal places"
            self.error("out-of-range", path, message, "round it")
        return amount

    def position(self, path: KeyPath) -> Position:
        """Where the value at `path` begins in the text."""
        return self.node(path).position

    def key_position(self, path: KeyPath) -> Position:
        """Where the last key of `path` begins in the text; for an item of a list, the item itself."""
        parent = self.node(path[:-1])
        if isinstance(parent, MappingNode) and path and path[-1] in parent.entries:
            return parent.entries[str(path[-1])].key.position
        return self.node(path).position

    def has(self, path: KeyPath) -> bool:
        """Whether the document has all keys of `path`."""
        node: YamlNode | None = self.root
        for key in path:
            node = _child(node, key) if node is not None else None
        return node is not None

    def has_removed_key(self, path: KeyPath) -> bool:
        """Whether a broken key was removed from the mapping at `path`."""
        return self.position(path) in self.removed_from

    def deepest_path(self, path: KeyPath, message: str) -> KeyPath:
        """`path`, extended by the keys with which `message` begins (`.ages[2]: …`), as far as the document has them."""
        node = self.node(path)
        children: list[tuple[str, str | int]] = []
        if isinstance(node, MappingNode):
            children = [(f".{name}", name) for name in node.entries]
        elif isinstance(node, SequenceNode):
            children = [(f"[{i}]", i) for i in range(len(node.items))]
        for text, key in children:
            if message.startswith(text) and message[len(text) : len(text) + 1] in (".", "[", ":"):
                return self.deepest_path((*path, key), message[len(text) :])
        return path

    def error(
        self, code: str, path: KeyPath, message: str, suggestion: str | None = None, *, key: bool = False
    ) -> None:
        """Reports a problem at the value of `path`, or at its key."""
        position = self.key_position(path) if key else self.position(path)
        self._add(Problem(code, message, position, suggestion))

    def warn(self, code: str, path: KeyPath, message: str, *, key: bool = True) -> None:
        """Reports a warning at the key of `path`, or at its value."""
        position = self.key_position(path) if key else self.position(path)
        self._add(Problem(code, message, position, severity="warning"))

    def text_problem(self, path: KeyPath, finding: Finding) -> None:
        """Reports a problem inside the text at `path`, at the character itself."""
        node = self.node(path)
        position = node.position_of(finding.offset) if isinstance(node, ScalarNode) else node.position
        self._add(Problem(finding.code, finding.message, position, finding.suggestion, finding.severity))

    def _add(self, problem: Problem) -> None:
        if any(problem.code in codes and part in self.incomplete for part, codes in _ABOUT_NAMES.items()):
            return
        if problem in self._reported:
            return
        self._reported.add(problem)
        self.problems.append(problem)
        self._errors += problem.severity == "error"
        if self._errors > MAX_PROBLEMS:
            raise TooManyProblems


def words_in(root: MappingNode, keys: Collection[str]) -> frozenset[str]:
    """The words in the texts and keys below these keys of a document."""
    words: set[str] = set()
    pending: list[YamlNode] = [root.entries[key].value for key in keys if key in root.entries]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        # An alias is the node of its anchor once more.
        seen.add(id(node))
        match node:
            case ScalarNode():
                words.update(_WORDS.findall(str(node.value)))
            case SequenceNode():
                pending += node.items
            case MappingNode():
                words.update(node.entries)
                pending += (entry.value for entry in node.entries.values())
    return frozenset(words)


def _child(node: YamlNode, key: str | int) -> YamlNode | None:
    if isinstance(node, MappingNode):
        entry = node.entries.get(str(key))
        return entry.value if entry else None
    if isinstance(node, SequenceNode) and isinstance(key, int):
        return node.items[key] if key < len(node.items) else None
    return None


def to_data(node: YamlNode) -> Any:
    """A tree as plain data: dicts, lists and values."""
    match node:
        case ScalarNode():
            return node.value
        case SequenceNode():
            return [to_data(item) for item in node.items]
        case MappingNode():
            return {name: to_data(entry.value) for name, entry in node.entries.items()}
