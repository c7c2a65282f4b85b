"""Refuses names that say the wrong thing: *tell* for log, publish or render, *found* for a match, *one* for a run.

Checks files, classes, functions, parameters, variables and attributes of `libs` and `services`. Prints a line for each
such name, and exits with 1 if there are any. The usual names are in docs/glossary.md.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ANYWHERE = frozenset({"anew", "beside", "hear", "heard", "hears", "tell", "telling", "tells", "told"})
"""Refused as a part of a name: `not_told`."""
WHOLE = frozenset({"ask", "asked", "asks", "found", "one", "said", "says", "who"})
"""Refused as a whole name."""
NOT_YET = ("libs/flowyard/src/flowyard/graph",)
"""Rooms that don't obey yet. Nothing is added here; a room leaves once its names are plain."""
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def is_refused(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    return not ANYWHERE.isdisjoint(words) or "_".join(words) in WHOLE


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each name that the code introduces, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case _:
                pass


def refused_in(path: Path) -> Iterator[str]:
    place = path.relative_to(ROOT)
    if is_refused(path.stem):
        yield f"{place}: choose another name than '{path.stem}' for the file"
    for line, name in sorted(names_in(ast.parse(path.read_text(encoding="utf-8")))):
        if is_refused(name):
            yield f"{place}:{line}: choose another name than '{name}'"


def main() -> int:
    files = [path for top in ("libs", "services") for path in sorted((ROOT / top).rglob("src/**/*.py"))]
    checked = [path for path in files if not _is_exempt(path)]
    refused = [line for path in checked for line in refused_in(path)]
    print(*refused, sep="\n", end="\n" if refused else "")
    return 1 if refused else 0


def _is_exempt(path: Path) -> bool:
    return any(path.is_relative_to(ROOT / room) for room in NOT_YET)


if __name__ == "__main__":
    sys.exit(main())
