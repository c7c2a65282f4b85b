"""The mirror: how big each room is, and where its longest file and its longest function are.

`make check` runs it. Exits with 1 if a file or a function is too long.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("libs", "services", "tests", "benchmarks")
# House rules: a function stays under 60 lines, a file under 400.
LONG_FUNCTION, LONG_FILE = 60, 400


@dataclass(frozen=True)
class SourceFile:
    path: Path
    lines: int
    longest: int
    function: str


def room_of(path: Path) -> str:
    """`libs/flowyard/src/flowyard/llm/calls.py` → `flowyard/llm`; `tests/unit/llm/test_keys.py` → `tests/unit/llm`."""
    folders = path.parent.parts
    return "/".join(folders[folders.index("src") + 1 :] if "src" in folders else folders)


def read(path: Path) -> SourceFile:
    text = path.read_text(encoding="utf-8")
    longest, function = max(functions(ast.parse(text)), default=(0, ""))
    return SourceFile(path.relative_to(ROOT), len(text.splitlines()), longest, function)


def functions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            yield node.end_lineno - node.lineno + 1, node.name


def mark(size: int, limit: int) -> str:
    return f"{size}{'!' if size > limit else ' '}"


def main() -> int:
    files = [read(path) for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]
    rooms = defaultdict(list)
    for file in files:
        rooms[room_of(file.path)].append(file)

    print(f"{'room':<30}{'files':>6}{'lines':>7}   {'longest file':<38}longest function")
    for room, members in rooms.items():
        file = max(members, key=lambda each: each.lines)
        owner = max(members, key=lambda each: each.longest)
        total = f"{room:<30}{len(members):>6}{sum(each.lines for each in members):>7}"
        longest_file = f"{mark(file.lines, LONG_FILE):>5} {file.path.name:<32}"
        print(f"{total}   {longest_file}{mark(owner.longest, LONG_FUNCTION):>4} {owner.function}")

    tests = sum(file.lines for file in files if file.path.parts[0] == "tests")
    code = sum(file.lines for file in files if file.path.parts[0] in {"libs", "services"})
    print(f"\ncode {code} lines, tests {tests} lines; '!' is over {LONG_FUNCTION} or {LONG_FILE} lines")
    return any(file.lines > LONG_FILE or file.longest > LONG_FUNCTION for file in files)


if __name__ == "__main__":
    sys.exit(main())
