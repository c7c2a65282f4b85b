"""Reports names that don't say what they name, such as `told` for a result, and classes that share a name.

`make lint` runs it. Arguments: folders or files to check instead of all our code. Exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
TOPS: Final = ("libs", "services", "deploy", "benchmarks")
# Each word with what to use in its place. docs/glossary.md has the verbs.
WORDS: Final[Mapping[str, str]] = {
    "told": "what it is, such as result, row, line",
    "tell": "log, publish, append, render, notify or report",
    "heard": "received, or what it is, such as event, message",
    "hear": "receive, apply or record",
    "asked": "what it is, such as request, limit, key",
    "found": "what it is, such as match, row, problem",
    "one": "what it is, such as run, row, line",
    "anew": "again",
    "beside": "parallel, next or with",
}
# HTTP's own name.
_NOT_FOUND: Final = re.compile("not_?found", re.IGNORECASE)
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def main(tops: list[Path]) -> int:
    files = sorted(file for top in tops for file in ([top] if top.is_file() else top.rglob("*.py")))
    lines = [line for file in files for line in problems(file)] + list(shared_names(files))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return bool(lines)


def problems(file: Path) -> Iterator[str]:
    shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    for line, name in sorted(set(names(ast.parse(file.read_text(encoding="utf-8"))))):
        for word in parts(name) & WORDS.keys():
            yield f"{shown}:{line}: name '{name}' (use {WORDS[word]})"


def shared_names(files: Sequence[Path]) -> Iterator[str]:
    """Public classes of the product whose name another one has: a name means one thing in the whole house."""
    first: dict[str, Path] = {}
    for file in files:
        if file.is_relative_to(ROOT / "benchmarks"):
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if (
                isinstance(node, ast.ClassDef)
                and not node.name.startswith("_")
                and first.setdefault(node.name, file) != file
            ):
                yield f"{file}:{node.lineno}: class '{node.name}' has the name of one in {first[node.name]}"


def parts(name: str) -> set[str]:
    """`_NotFoundRow` → {"row"}; `is_told` → {"is", "told"}."""
    return {part.lower() for part in _PART.findall(_NOT_FOUND.sub("", name))}


def names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Each name that the code gives to something of its own, with its line. Imported names are reported at home."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case ast.MatchMapping(rest=str(name)):
                yield node.lineno, name


if __name__ == "__main__":
    sys.exit(main([Path(arg) for arg in sys.argv[1:]] or [ROOT / top for top in TOPS]))
