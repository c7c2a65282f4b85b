"""Each file of `data/bad` says in its first lines what is wrong with it: `# line:column code part of the hint`."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import flowyard.language
from flowyard.language.load import load_bytes
from flowyard.language.problems import Position, Problem
from flowyard.language.reading.source_document import MAX_PROBLEMS
from support.documents import load_file

BAD = sorted((Path(__file__).parents[2] / "data" / "bad").glob("*.yaml"))
EXPECTED = re.compile(r"# (\d+):(\d+) ([a-z0-9-]+) ?(.*)")
WARNINGS = {
    "constant-condition",
    "literal-braces",
    "not-taken",
    "old-key",
    "server-only",
    "unread-input",
    "unwritten-field",
    "open-webhook",
}
MADE_HERE = {
    "document-too-large", "not-utf8", "too-many-problems", "unknown-price", "variable-not-allowed",
    "unknown-tool", "unknown-argument", "tool-denied", "tool-pattern", "uneven-tool", "older-tool-name", "code-limit",
}  # fmt: skip
"""Codes of documents that are better made than kept, or that depend on the installation."""

HEAD = b"flow: {name: bad}\nstate: {fields: {topic: {type: str, required: true}, poem: str}}\n"
NODES = b'nodes:\n  - {id: write, prompt: "On {topic}", outputs: [poem]}\n'


@dataclass(frozen=True, slots=True)
class Expected:
    position: Position
    code: str
    hint: str


def expected_in(text: str) -> list[Expected]:
    collected = []
    for line in text.splitlines():
        match = EXPECTED.fullmatch(line)
        if match is None:
            break
        collected.append(Expected(Position(int(match[1]), int(match[2])), match[3], match[4]))
    return collected


def shown_of(problem: Problem) -> str:
    return f"{problem.message} ({problem.suggestion})"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_document_is_refused_with_what_where_and_what_would_be_right(path: Path) -> None:
    expected = expected_in(path.read_text(encoding="utf-8"))
    loaded = load_file(path)
    shown = "\n".join(problem.render(path.name) for problem in loaded.problems)
    collected = [(p.position.line, p.position.column, p.code) for p in loaded.problems]
    assert collected == sorted((e.position.line, e.position.column, e.code) for e in expected), shown
    for problem, wanted in zip(loaded.problems, sorted(expected, key=lambda e: (e.position, e.code)), strict=True):
        assert wanted.hint in shown_of(problem), shown


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_errors_prevent_a_workflow_and_warnings_do_not(path: Path) -> None:
    only_warnings = {e.code for e in expected_in(path.read_text(encoding="utf-8"))} <= WARNINGS
    assert (load_file(path).workflow is not None) is only_warnings


def test_every_code_of_the_language_has_a_bad_document() -> None:
    covered = {e.code for path in BAD for e in expected_in(path.read_text(encoding="utf-8"))}
    assert codes_in_the_source() <= covered | MADE_HERE


def codes_in_the_source() -> set[str]:
    """What stands as a code in the calls that report."""
    room = Path(next(iter(flowyard.language.__path__)))
    reporters = {"error", "warn", "text_warning", "Problem", "Finding", "_fatal"}
    collected = set()
    for path in room.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                places = [node.args[0]] if name in reporters else []
                places += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                collected |= {c.value for place in places for c in ast.walk(place) if isinstance(c, ast.Constant)}
    return {code for code in collected if isinstance(code, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", code)}


@pytest.mark.parametrize(
    ("data", "position", "code"),
    [
        (HEAD + NODES + b"# caf\xe9\n", Position(5, 6), "not-utf8"),
        (b"\xff\xfef\x00l\x00o\x00w\x00", Position(1, 1), "not-utf8"),
        ("# é".encode() + b"\xc3", Position(1, 4), "not-utf8"),
        (HEAD + NODES + b"#" * 1_000_000, Position(1, 1), "document-too-large"),
        (b"", Position(1, 1), "empty-document"),
        (b"\xef\xbb\xbfflow: x", Position(1, 7), "wrong-type"),
        (HEAD.replace(b"\n", b"\r\n") + NODES.replace(b"{topic}", b"{topik}"), Position(4, 30), "unknown-field"),
        (HEAD.replace(b"\n", b"\r") + NODES.replace(b"{topic}", b"{topik}"), Position(4, 30), "unknown-field"),
    ],
    ids=["latin-1", "utf-16", "cut off", "too large", "empty", "byte order mark", "crlf", "cr"],
)
def test_bytes_are_placed_as_editors_show_them(data: bytes, position: Position, code: str) -> None:
    assert (position, code) in [(p.position, p.code) for p in load_bytes(data, "x.yaml").problems]


def test_a_document_of_just_one_megabyte_is_read() -> None:
    data = HEAD + NODES
    assert load_bytes(data + b"#" * (1_000_000 - len(data)), "x.yaml").workflow is not None


def test_after_a_hundred_problems_the_rest_is_left_out() -> None:
    keys = b"".join(b"key%d: 1\n" % i for i in range(500))
    problems = load_bytes(HEAD + NODES + keys, "x.yaml").problems
    assert [p.code for p in problems] == ["unknown-key"] * MAX_PROBLEMS + ["too-many-problems"]
