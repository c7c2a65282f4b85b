"""What is known of a node's code without executing it: its syntax, what its interpreter lacks, which names it reads."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from flowyard.language.nodes import CodeTier
from flowyard.language.values.references import Finding

RESULT: Final = "result"
INPUTS: Final = "inputs"
SYNTAX: Final = "code-syntax"
TIER: Final = "code-tier"
_FULL: Final = "write sandbox: {tier: full}"

# As measured with Monty 1.4.0 and CPython 3.12 in WebAssembly: see `tests/services/sandbox/test_tiers.py`.
_MODULES_OF_FAST: Final = frozenset({
    "__future__", "asyncio", "base64", "binascii", "bisect", "collections", "copy", "csv", "dataclasses", "datetime",
    "decimal", "functools", "hashlib", "itertools", "json", "math", "os", "pathlib", "posixpath", "random", "re",
    "sys", "time", "tomllib", "typing", "unicodedata",
})  # fmt: skip
_MODULES_OF_FULL: Final = frozenset({
    "__future__", "abc", "argparse", "array", "ast", "base64", "binascii", "bisect", "builtins", "bz2", "calendar",
    "cmath", "codecs", "collections", "colorsys", "configparser", "contextlib", "contextvars", "copy", "copyreg",
    "csv", "dataclasses", "datetime", "decimal", "difflib", "email", "encodings", "enum", "errno", "filecmp",
    "fnmatch", "fractions", "functools", "gc", "gettext", "glob", "graphlib", "gzip", "hashlib", "heapq", "hmac",
    "html", "http", "importlib", "inspect", "io", "ipaddress", "itertools", "json", "keyword", "linecache", "locale",
    "logging", "marshal", "math", "mimetypes", "numbers", "operator", "optparse", "os", "pathlib", "pickle",
    "pickletools", "pkgutil", "platform", "plistlib", "posix", "posixpath", "pprint", "queue", "quopri", "random",
    "re", "reprlib", "sched", "secrets", "shelve", "shlex", "shutil", "signal", "sqlite3", "stat", "statistics",
    "string", "stringprep", "struct", "symtable", "sys", "sysconfig", "tarfile", "tempfile", "textwrap", "threading",
    "time", "timeit", "token", "tokenize", "tomllib", "trace", "traceback", "types", "typing", "unicodedata",
    "unittest", "urllib", "uuid", "warnings", "weakref", "xml", "zipfile", "zlib", "zoneinfo",
})  # fmt: skip
MODULES: Final[Mapping[CodeTier, frozenset[str]]] = {"fast": _MODULES_OF_FAST, "full": _MODULES_OF_FULL}
"""Those that code may import, by the first part of their names."""
_STATEMENTS: Final[dict[str, str]] = {
    "Yield": "'yield'",
    "YieldFrom": "'yield from'",
    "Delete": "'del'",
    "TryStar": "'except*'",
    "TypeAlias": "'type'",
    "AsyncFor": "'async for'",
    "AsyncWith": "'async with'",
    "TemplateStr": "template strings",
}
"""What the tier `fast` doesn't have, by the name of its class in `ast`: newer versions of Python have more of them."""


@dataclass(frozen=True, slots=True)
class ReadCode:
    """`names`: those that the code reads and never assigns. `findings`: its problems; empty: it can be executed."""

    names: frozenset[str]
    findings: tuple[Finding, ...]


def read_code(text: str, tier: CodeTier) -> ReadCode:
    """Nothing of the code is executed."""
    lines = _Lines(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        findings = tuple(_findings(tree, tier, lines))
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    except SyntaxError as error:
        offset = lines.offset(error.lineno or 1, max((error.offset or 1) - 1, 0))
        return ReadCode(frozenset(), (Finding(SYNTAX, f"this isn't Python: {error.msg}", offset),))
    except (ValueError, MemoryError, RecursionError):
        return ReadCode(frozenset(), (Finding(SYNTAX, "this isn't Python that can be read", 0),))
    assigned = {name.id for name in names if not isinstance(name.ctx, ast.Load)}
    return ReadCode(frozenset(name.id for name in names) - assigned, findings)


def _findings(tree: ast.Module, tier: CodeTier, lines: _Lines) -> Iterator[Finding]:
    yield from _returns(tree.body, lines)
    if not _assigns_result(tree):
        yield Finding("code-result", f"the code never assigns '{RESULT}'", 0, f"add {RESULT} = …")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _import_findings(node, tier, lines)
        if tier == "fast" and (what := _missing_in_fast(node)):
            message = f"the tier 'fast' doesn't have {what}"
            yield Finding(TIER, message, lines.offset_of(node), _FULL)


def _returns(body: list[ast.stmt], lines: _Lines) -> Iterator[Finding]:
    """`return` outside of a function, which the parser lets pass."""
    pending: list[ast.AST] = [*body]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Return):
            yield Finding(SYNTAX, "'return' is outside of a function", lines.offset_of(node), f"write {RESULT} = …")
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending += ast.iter_child_nodes(node)


def _assigns_result(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if name == RESULT:
                return True
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if name == RESULT:
                return True
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                if any((each.asname or each.name) in {RESULT, "*"} for each in names):
                    return True
    return False


def _missing_in_fast(node: ast.AST) -> str | None:
    match node:
        case ast.ClassDef() if node.bases or node.keywords:
            return "classes that inherit"
        case ast.ClassDef(body=body):
            if any(isinstance(part, ast.ClassDef) for part in body):
                return "classes in classes"
            functions = [part for part in body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
            return "decorators of methods" if any(each.decorator_list for each in functions) else None
        case ast.ImportFrom(names=names) if any(each.name == "*" for each in names):
            return "'import *'"
        case ast.comprehension(is_async=1):
            return "asynchronous comprehensions"
    return _STATEMENTS.get(type(node).__name__)


def _import_findings(node: ast.Import | ast.ImportFrom, tier: CodeTier, lines: _Lines) -> Iterator[Finding]:
    names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or "."]
    for name in names:
        root = name.split(".")[0]
        if root in MODULES[tier]:
            continue
        if tier == "fast" and root in _MODULES_OF_FULL:
            yield Finding(TIER, f"the tier 'fast' has no module '{root}'", lines.offset_of(node), _FULL)
        else:
            message = f"the sandbox has no module '{root}'"
            yield Finding("code-module", message, lines.offset_of(node), "use what Python's own library has")


class _Lines:
    """Positions of the parser, in lines and bytes, as offsets in the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.splitlines(keepends=True) or [""]

    def offset(self, line: int, characters: int) -> int:
        before = sum(map(len, self._lines[: line - 1]))
        return min(before + characters, max(len(self._text) - 1, 0))

    def offset_of(self, node: ast.AST) -> int:
        number = getattr(node, "lineno", 1)
        line = self._lines[number - 1] if number <= len(self._lines) else ""
        characters = len(line.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore"))
        return self.offset(number, characters)
