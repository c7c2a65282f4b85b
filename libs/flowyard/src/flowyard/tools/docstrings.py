"""Docstrings as descriptions: of a function, and of its parameters, in Google's or Sphinx's style."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Final

_SECTION: Final = re.compile(r"(?m)^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?|Notes?):[ \t]*$")
_OF_PARAMETERS: Final = frozenset({"Args", "Arguments", "Parameters"})
_GOOGLE: Final = re.compile(r"\*{0,2}(\w+)[ \t]*(?:\([^)]*\))?:(.*)")
_FIELD: Final = re.compile(r"(?m)^:")
_SPHINX: Final = re.compile(r":param[ \t]+(?:[^:\n]*[ \t])?(\w+):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Description:
    """`parameters`: texts by name, of those that are described."""

    text: str
    parameters: dict[str, str]


def read_docstring(docstring: str) -> Description:
    text = inspect.cleandoc(docstring)
    parameters: dict[str, str] = {}
    if (field := _FIELD.search(text)) is not None:
        text, fields = text[: field.start()], re.split(r"(?m)^(?=:)", text[field.start() :])
        parameters |= {match[1]: _joined(match[2]) for each in fields if (match := _SPHINX.match(each))}
    head, *sections = _SECTION.split(text)
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        if name in _OF_PARAMETERS:
            parameters |= _of_google(body)
    return Description("\n\n".join(_joined(part) for part in head.split("\n\n") if part.strip()), parameters)


def _of_google(body: str) -> dict[str, str]:
    """Each begins where the first one does; what is indented more goes on with it."""
    lines = [line for line in body.splitlines() if line.strip()]
    least = min((_indent(line) for line in lines), default=0)
    texts: dict[str, str] = {}
    for line in lines:
        match = _GOOGLE.match(line.strip()) if _indent(line) == least else None
        if match is not None:
            texts[match[1]] = match[2].strip()
        elif texts:
            texts[next(reversed(texts))] += f" {line.strip()}"
    return texts


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(text: str) -> str:
    return " ".join(text.split())
