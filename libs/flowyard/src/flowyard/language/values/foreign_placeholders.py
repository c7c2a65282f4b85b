"""Braces that a template leaves as text, although they look like a placeholder of another template language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flowyard.language.problems import did_you_mean, suggest
from flowyard.language.values.references import Finding
from flowyard.language.values.templates import check_template, is_placeholder, parse_template
from flowyard.language.values.types import Type

# The bound keeps the time in proportion to the text's length.
_BRACES: Final = re.compile(r"(?<!\{)(?:\{\{([^{}]{1,100})\}\}(?!\})|\{([^{}]{1,100})\})")
_STATEMENT: Final = re.compile(r"%[-+]?\s*[a-z]+\b.*%", re.DOTALL)
_BLOCK: Final = re.compile(r"[#/^](?:each|if|unless|with)\b.*", re.DOTALL)
_COMMENT: Final = re.compile(r"\#\s.*\s\#", re.DOTALL)
_STEP: Final = re.compile(r"\.\$?([^\W\d]\w*)|\.(\d{1,9})|\[([^\[\]]*)\]|\(([^()]*)\)(?=\.)")
_REFERENCE: Final = re.compile(
    rf"""[-~&]?\s*\#?\$?                 # how Jinja, Handlebars, Dify and n8n may begin
    (\w+|(?=\())((?:{_STEP.pattern})*)\s*     # a name, and steps into its value
    (?:(\|.*)|(\(.*\))|(![rsa]|:[\d<>^+]*[.,%<>^][\d,.]*[a-zA-Z%]?)
      |((?:[-+*/%<>?]|[=!]=|(?:or|and|if|in|is|not)\b)\s*[\w'"(].*))?\#?\s*[-~]?""",
    re.DOTALL | re.VERBOSE,
)
_INDEX: Final = re.compile(r"-?\d{1,9}")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD: Final = re.compile(r"[^\W\d]\w*")
_PREFIXES: Final = frozenset({
    "context", "data", "env", "input", "inputs", "json", "node", "nodes", "output", "outputs", "params", "state",
    "steps", "sys", "vars", "variables", "workflow",
})  # fmt: skip
"""What other languages write before the name of a value."""
_CLOSE: Final = 0.75
"""How similar a word without any other sign has to be: a text may have braces around words, too."""
_SHOWN: Final = 60
_NO_STATEMENTS: Final = "a template has no statements: choose with routes at an edge, repeat with a map or a loop"
_NO_COMMENTS: Final = "a template has no comments: write them outside of the text, after #"


@dataclass(frozen=True, slots=True)
class Known:
    """What a template may name: `types` of its names. `outputs`: the fields that each node writes."""

    types: Mapping[str, Type]
    outputs: Mapping[str, Sequence[str]]


def foreign_placeholders(text: str, known: Known) -> Iterator[Finding]:
    """A warning for each, with the right spelling."""
    for match in _BRACES.finditer(text):
        inner, is_doubled = match[1] or match[2], match[1] is not None
        if _STATEMENT.fullmatch(inner) or (is_doubled and _BLOCK.fullmatch(inner)):
            yield _finding(match, "a statement", _NO_STATEMENTS)
        elif _COMMENT.fullmatch(inner):
            yield _finding(match, "a comment", _NO_COMMENTS)
        elif hint := _right_spelling(inner, known, is_doubled=is_doubled):
            yield _finding(match, "a placeholder", hint)


def _finding(match: re.Match[str], what: str, hint: str) -> Finding:
    shown = match[0] if len(match[0]) <= _SHOWN else f"{match[0][: _SHOWN - 1]}…"
    message = f"'{shown}' is text here, not {what}"
    return Finding("literal-braces", message, match.start(), hint, severity="warning")


def _right_spelling(inner: str, known: Known, *, is_doubled: bool) -> str | None:
    """The hint how to write it; None if nothing shows that a value is meant."""
    match = _REFERENCE.fullmatch(inner)
    if match is None or (not is_doubled and (is_placeholder(f"{{{inner}}}") or inner.startswith("#"))):
        return None
    filters, call, conversion, calculation = match.groups()[-4:]
    path = _path(match)
    kept = path[:-1] if call and len(path) > 1 else path
    if not is_doubled and (calculation or not {kept[0].word} & {*known.types, *_PREFIXES}):
        # `{topic - one word}` describes what a reader should insert.
        return None
    meant = _meant(kept, known, is_doubled=is_doubled)
    if meant is None:
        is_clear = inner != inner.strip() or len(path) > 1 or bool(filters or call or inner[0] in "#$")
        return _unknown(kept, known, is_clear=is_clear) if is_doubled else None
    for given, what in ((filters, "filters"), (call, "calls"), (conversion, "formats")):
        if given:
            return f"write {meant.text}; a placeholder has no {what}"
    if calculation:
        return f"write {meant.text}; a placeholder computes nothing, but a set node does"
    if meant.fault:
        return f"write {meant.text}; {meant.fault}"
    return f"write {meant.text}; for braces as text, {{{meant.text}" if is_doubled else f"write {meant.text}"


@dataclass(frozen=True, slots=True)
class _Part:
    """`word`: the name in it, or "". `written`: the step as this language writes it; None if it has no such step.

    `is_index`: it is a name in brackets, which is a key in Python and a variable in Jinja.
    """

    word: str
    written: str | None
    is_index: bool = False


@dataclass(frozen=True, slots=True)
class _Meant:
    """`text`: the placeholder as this language writes it. `fault`: why it is only a part of what was written, or ""."""

    text: str
    fault: str = ""


def _path(match: re.Match[str]) -> list[_Part]:
    first = match[1]
    return [_Part(first, first), *(_part(step) for step in _STEP.finditer(match[2]))]


def _part(match: re.Match[str]) -> _Part:
    name, number, index, argument = match.groups()
    if name is not None:
        return _Part(name, f".{name}")
    if number is not None:
        return _Part("", f"[{number}]")
    if argument is not None:
        return _Part(argument.strip("'\" "), "")
    if _QUOTED.fullmatch(index):
        return _Part(index[1:-1], f"[{index}]")
    if _INDEX.fullmatch(index):
        return _Part("", f"[{index}]")
    return _Part(index, f".{index}", is_index=True) if _WORD.fullmatch(index) else _Part("", None)


def _meant(path: list[_Part], known: Known, *, is_doubled: bool) -> _Meant | None:
    """The placeholder of the first known name in the path, with as many steps as its type has; else of a node's only
    output. A field that is called as a prefix of other languages gives way to one that has all steps."""
    places = [i for i, part in enumerate(path) if part.word in known.types]
    # A variable in brackets is no root, unless all before it are prefixes.
    places = [i for i in places if not path[i].is_index] or places
    spelled = [_spelled(path[i].word, path[i + 1 :], known, has_variables=is_doubled) for i in places]
    if spelled:
        fitting = [each for each in spelled if not each.fault] if path[places[0]].word in _PREFIXES else []
        return (fitting or spelled)[0]
    outputs = [known.outputs[part.word] for part in path if part.word in known.outputs]
    is_only = bool(outputs) and len(outputs[0]) == 1 and outputs[0][0] in known.types
    return _Meant(f"{{{outputs[0][0]}}}") if is_only else None


def _spelled(name: str, steps: list[_Part], known: Known, *, has_variables: bool) -> _Meant:
    """`has_variables`: a name in brackets is a variable if there is one with this name."""
    text = name
    for step in steps:
        if step.written is None:
            return _Meant(f"{{{text}}}", "a placeholder has no slices")
        fault = _fault(f"{{{text}{step.written}}}", known)
        if step.is_index and (fault or (has_variables and step.word in known.types)):
            return _Meant(f"{{{text}}}", "an index is a number, or a key in quotes")
        if fault:
            return _Meant(f"{{{text}}}", fault)
        text += step.written
    return _Meant(f"{{{text}}}")


def _fault(text: str, known: Known) -> str | None:
    """Why this placeholder would be refused, or None."""
    finding = next(check_template(parse_template(text), known.types), None)
    return finding.message if finding is not None else None


def _unknown(path: list[_Part], known: Known, *, is_clear: bool) -> str | None:
    """The hint for a reference whose name nobody knows. `is_clear`: its form shows that a value is meant."""
    words = [part.word for part in path if _WORD.fullmatch(part.word)]
    words = [word for word in words if word not in _PREFIXES] or words[:1]
    for word in words:
        if near := did_you_mean(word, known.types, cutoff=0.6 if is_clear else _CLOSE):
            return f"{near} For braces as text, {{{{{word}}}"
    if not is_clear or not words:
        return None
    return f"no field '{words[0]}'; {suggest(words[0], known.types, 'fields')}; for braces as text, {{{{{words[0]}}}"
