"""Parses a text into a tree of YAML nodes with their positions. Enforces limits, and reports ambiguous YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

from flowyard.language.problems import Position, Problem
from flowyard.language.reading.source_span import SourceSpan, position_at
from flowyard.language.reading.syntax_problems import syntax_problem

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 60
MAX_NODES: Final = 50_000

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOOLEAN_WORDS: Final = frozenset({"yes", "no", "on", "off"})
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_NUMBER_LENGTH: Final = 300
_TEXT_TAGS: Final = ("!", "tag:yaml.org,2002:str")
_FORBIDDEN: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+(?:#.*\s+)*)*")
"""`&anchor` and `!!tag`, which stand before the scalar itself."""


class SourceError(Exception):
    """The text can't be parsed as a document, so nothing else in it can be checked."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """`value`: the text as YAML 1.2 resolves it. `span`: where the text stands in the source."""

    value: Any
    text: str
    position: Position
    span: SourceSpan

    def position_of(self, offset: int) -> Position:
        """The position in the source of the text's character number `offset`."""
        return self.span.position(self.text, offset)


@dataclass(frozen=True, slots=True)
class MappingEntry:
    key: ScalarNode
    value: YamlNode


@dataclass(frozen=True, slots=True)
class MappingNode:
    entries: dict[str, MappingEntry]
    position: Position


@dataclass(frozen=True, slots=True)
class SequenceNode:
    items: list[YamlNode]
    position: Position


YamlNode: TypeAlias = ScalarNode | MappingNode | SequenceNode


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        message = f"the document has {size:,} bytes; the limit is {MAX_BYTES:,}"
        raise SourceError(Problem("document-too-large", message, Position(1, 1), "put large data into inputs or files"))


def decode(data: bytes) -> str:
    """The text of a document. Raises SourceError if it is too large or not UTF-8."""
    _check_size(len(data))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = data[: error.start].decode("utf-8-sig", errors="replace")
        message = f"the document is not UTF-8: byte 0x{data[error.start]:02x} can't be read"
        position = position_at(text, len(text))
        raise SourceError(Problem("not-utf8", message, position, "save the file as UTF-8")) from error


@dataclass(slots=True)
class Tree:
    """A document's root mapping, and the problems that the parser reported."""

    root: MappingNode
    problems: list[Problem]


def read_tree(text: str) -> Tree:
    """Raises SourceError if the text isn't YAML, isn't a mapping at the top level, or exceeds a limit."""
    text = text.removeprefix("\ufeff")
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        message = f"the character U+{ord(forbidden[0]):04X} isn't allowed"
        raise SourceError(Problem("yaml-syntax", message, position_at(text, forbidden.start()), "remove it"))
    _check_size(len(text.encode()))
    builder = _Builder(text)
    try:
        root = builder.document()
    except yaml.YAMLError as error:
        raise SourceError(syntax_problem(error, text)) from error
    if root is None or (isinstance(root, ScalarNode) and root.value is None):
        raise SourceError(Problem("empty-document", "the document is empty", Position(1, 1), "see: flowyard init NAME"))
    if not isinstance(root, MappingNode):
        message = "a document is a mapping with the keys flow, state and nodes"
        raise SourceError(Problem("wrong-type", message, root.position, "see: flowyard init NAME"))
    return Tree(root, builder.problems)


@dataclass(slots=True)
class _OpenCollection:
    """A mapping or a list whose end isn't parsed yet."""

    node: MappingNode | SequenceNode
    anchor: str | None
    key: ScalarNode | None = None
    merge_line: int | None = None
    """The line of the key `<<`."""

    size: int = 1
    length: int = 0
    height: int = 1
    merges: list[YamlNode] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Anchored:
    """A finished node, and what an alias to it adds: `size` nodes, `length` characters and `height` levels."""

    node: YamlNode
    length: int
    size: int = 1
    height: int = 0


class _Builder:
    """Builds the tree from the parser's events, without recursion, so that no document can exceed Python's stack."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.problems: list[Problem] = []
        self.anchors: dict[str, _Anchored | None] = {}
        self.open: list[_OpenCollection] = []
        self.root: YamlNode | None = None
        self.total = 0

    def document(self) -> YamlNode | None:
        documents = 0
        for event in yaml.parse(self.text, Loader=_Loader):
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        message = "a file can only have one document"
                        self._fail("several-documents", message, event, "remove the line '---'")
                case yaml.ScalarEvent():
                    self._add(_Anchored(self._scalar(event), len(event.value)), event, anchor=event.anchor)
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.MappingStartEvent():
                    self._start(MappingNode({}, self._position(event)), event)
                case yaml.SequenceStartEvent():
                    self._start(SequenceNode([], self._position(event)), event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._close(event)
        return self.root

    def _position(self, event: yaml.Event) -> Position:
        return position_at(self.text, event.start_mark.index if event.start_mark else 0)

    def _fail(self, code: str, message: str, event: yaml.Event, suggestion: str | None = None) -> None:
        raise SourceError(Problem(code, message, self._position(event), suggestion))

    def _start(self, node: MappingNode | SequenceNode, event: Any) -> None:
        if len(self.open) >= MAX_DEPTH:
            self._fail("too-deep", f"the document nests deeper than {MAX_DEPTH} levels", event)
        self._refuse_tag(event)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.open.append(_OpenCollection(node, event.anchor))

    def _close(self, event: yaml.Event) -> None:
        closed = self.open.pop()
        if isinstance(closed.node, MappingNode):
            self._merge(closed.node, closed.merges)
        self._add(_Anchored(closed.node, closed.length, closed.size, closed.height), event, anchor=closed.anchor)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            self._fail("unknown-anchor", f"no anchor '&{event.anchor}' before this alias", event)
        anchored = self.anchors[event.anchor]
        if anchored is None:
            self._fail("recursive-alias", f"the alias '*{event.anchor}' is inside its own anchor", event)
        else:
            self._add(anchored, event, anchor=None)

    def _add(self, anchored: _Anchored, event: yaml.Event, *, anchor: str | None) -> None:
        node = anchored.node
        if anchor:
            self.anchors[anchor] = anchored
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.size += anchored.size
        parent.length += anchored.length
        parent.height = max(parent.height, anchored.height + 1)
        if parent.size > MAX_NODES:
            self._fail("too-many-nodes", f"the document has more than {MAX_NODES:,} nodes, aliases counted", event)
        if parent.length > MAX_BYTES:
            message = f"the document has more than {MAX_BYTES:,} bytes, aliases counted"
            self._fail("document-too-large", message, event, "put large data into inputs or files")
        if len(self.open) + anchored.height > MAX_DEPTH + 1:
            self._fail("too-deep", f"the document nests deeper than {MAX_DEPTH} levels, aliases counted", event)
        if isinstance(parent.node, SequenceNode):
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
        else:
            self._entry(parent, parent.node, parent.key, node)
            parent.key = None

    def _key(self, node: YamlNode) -> ScalarNode:
        if isinstance(node, ScalarNode) and (node.value is not None or node.text) and "\0" not in node.text:
            return node
        self.problems.append(Problem("bad-key", "a key must be a text", node.position))
        return ScalarNode("", "", node.position, SourceSpan(self.text, 0, 0, ""))

    def _entry(self, parent: _OpenCollection, mapping: MappingNode, key: ScalarNode, value: YamlNode) -> None:
        merging = key.text == "<<" and key.span.style == ""
        first = parent.merge_line if merging else None
        if key.text in mapping.entries:
            first = mapping.entries[key.text].key.position.line
        if merging and first is None:
            parent.merge_line = key.position.line
            parent.merges.append(value)
        elif first is not None:
            message = f"the key '{key.text}' is used twice (first in line {first})"
            self.problems.append(Problem("duplicate-key", message, key.position, "remove or rename one of them"))
        elif key.text:
            mapping.entries[key.text] = MappingEntry(key, value)

    def _merge(self, mapping: MappingNode, merges: list[YamlNode]) -> None:
        for merged in merges:
            for source in merged.items if isinstance(merged, SequenceNode) else [merged]:
                if isinstance(source, MappingNode):
                    for name, entry in source.entries.items():
                        mapping.entries.setdefault(name, entry)
                else:
                    message = "'<<' needs a mapping, or a list of mappings"
                    self.problems.append(Problem("bad-merge", message, source.position))

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")
            message = f"the tag '{shown}' isn't allowed"
            self.problems.append(Problem("yaml-tag", message, self._position(event), "remove the tag"))

    def _scalar(self, event: Any) -> ScalarNode:
        self._refuse_tag(event)
        is_plain = event.style in (None, "") and event.tag is None
        start = event.start_mark.index
        if (event.anchor or event.tag) and (properties := _PROPERTIES.match(self.text, start, event.end_mark.index)):
            start = properties.end()
        span = SourceSpan(self.text, start, event.end_mark.index, event.style or "")
        position = position_at(self.text, start)
        if "\0" in event.value:
            message = "a text can't contain the character U+0000"
            self.problems.append(Problem("bad-character", message, position, "remove it"))
        value = self._resolve(event.value, position) if is_plain else event.value
        return ScalarNode(value, event.value, position, span)

    def _resolve(self, text: str, position: Position) -> Any:
        """Resolves a text by the core schema of YAML 1.2; reports the words that are booleans in YAML 1.1."""
        lowered = text.lower()
        if lowered in ("", "~", "null") and text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return lowered == "true"
        if lowered in _BOOLEAN_WORDS:
            meant = "true" if lowered in ("yes", "on") else "false"
            message = f"'{text}' without quotes is a boolean for some YAML parsers and a text for others"
            is_key = bool(self.open) and isinstance(self.open[-1].node, MappingNode) and self.open[-1].key is None
            hint = f"quote it: '{text}'" if is_key else f"write {meant}, or quote it: '{text}'"
            self.problems.append(Problem("boolean-word", message, position, hint))
            return text
        if _INT.fullmatch(text) or _FLOAT.fullmatch(text):
            return self._number(text, position)
        return text

    def _number(self, text: str, position: Position) -> int | float | str:
        if len(text) > _MAX_NUMBER_LENGTH:
            message = f"a number has at most {_MAX_NUMBER_LENGTH} characters"
            self.problems.append(Problem("bad-number", message, position, "quote it if it is text"))
            return text
        if _INT.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
