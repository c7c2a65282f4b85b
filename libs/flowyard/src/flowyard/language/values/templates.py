"""Templates: texts with placeholders such as `{topic}`, `{state.profile.name}`, `{items[0]}`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from flowyard.errors.steps import EvaluationError
from flowyard.language.problems import did_you_mean, suggest
from flowyard.language.values.references import Finding, PathStep, show, step_type, take_step
from flowyard.language.values.types import STR, Type
from flowyard.large_json import parts

Lookup: TypeAlias = Callable[[str], Any]
"""Returns the value of a name. The names were checked when the document was loaded."""

MAX_LENGTH: Final = 200_000
MAX_PLACEHOLDERS: Final = 500
MAX_STEPS: Final = 32
MAX_RENDERED: Final = 8_000_000
"""Characters of a text with its values."""
_JSON: Final = json.JSONEncoder(ensure_ascii=False)
_STEP: Final = re.compile(r"\.([^\W\d]\w*)|\[(-?\d{1,9})\]|\[(?:'([^'{}]*)'|\"([^\"{}]*)\")\]")
_BRACE: Final = re.compile(r"[{}]")
_REFERENCE: Final = re.compile(rf"\{{\s*([^\W\d]\w*)((?:{_STEP.pattern})*)\s*\}}")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One `{…}`. `offset`: of its brace in the template's text, in characters."""

    root: str
    steps: tuple[PathStep, ...]
    offset: int

    def value(self, lookup: Lookup) -> Any:
        """The value that it stands for. Raises EvaluationError."""
        value = lookup(self.root)
        for i, step in enumerate(self.steps):
            value = take_step(value, step, partial(show, self.root, self.steps, i))
        return value


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. `parts`: literal texts and placeholders, in order."""

    text: str
    parts: tuple[str | Placeholder, ...]

    @property
    def placeholders(self) -> Iterator[Placeholder]:
        return (part for part in self.parts if isinstance(part, Placeholder))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(p.root for p in self.placeholders)

    def references(self) -> Iterator[tuple[str, int]]:
        """Each name that is read, and the character of the text at which it begins."""
        return ((p.root, p.offset + 1) for p in self.placeholders)

    def render(self, lookup: Lookup) -> str:
        """The text with all placeholders replaced. Braces in values aren't expanded. Raises EvaluationError."""
        pieces: list[str] = []
        size = 0
        for part in self.parts:
            pieces.append(part if isinstance(part, str) else as_text(part.value(lookup)))
            size += len(pieces[-1])
            if size > MAX_RENDERED:
                raise EvaluationError(f"with its values, the text has more than {MAX_RENDERED:,} characters")
        return "".join(pieces)

    def value(self, lookup: Lookup) -> Any:
        """The rendered text; of a template that is a single placeholder, its value with the value's own type."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Placeholder):
            return self.parts[0].value(lookup)
        return self.render(lookup)


def as_text(value: Any) -> str:
    """A value in a prompt: a text unchanged, null as an empty text, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else "".join(parts(value, _JSON))


def parse_template(text: str) -> Template:
    """Parses any text: braces around what can't be a name are literal; `{{` and `}}` are single braces."""
    parts: list[str | Placeholder] = []
    literal: list[str] = []
    opened: list[str] = []
    at = 0
    while brace := _BRACE.search(text, at):
        literal.append(text[at : brace.start()])
        at = brace.start()
        if text[at] == "}":
            at += _close(text, at, opened, literal)
        elif text.startswith("{{", at):
            opened.append("{{")
            literal.append("{")
            at += 2
        elif match := _REFERENCE.match(text, at):
            if "".join(literal):
                parts.append("".join(literal))
            literal = []
            parts.append(_placeholder(match))
            at = match.end()
        else:
            opened.append("{")
            literal.append("{")
            at += 1
    literal.append(text[at:])
    if "".join(literal):
        parts.append("".join(literal))
    return Template(text, tuple(parts))


def is_placeholder(text: str) -> bool:
    """Whether the text is one placeholder and nothing else."""
    return _REFERENCE.fullmatch(text) is not None


def _close(text: str, at: int, opened: list[str], literal: list[str]) -> int:
    """Appends one `}`. Returns its length in the text: `}}` is a single brace unless a literal `{` is open."""
    innermost = opened.pop() if opened else "{{"
    literal.append("}")
    return 2 if innermost == "{{" and text.startswith("}}", at) else 1


def _placeholder(match: re.Match[str]) -> Placeholder:
    root = match[1]
    if not match[2]:
        return Placeholder(root, (), match.start())
    steps = [int(m[2]) if m[2] else (m[1] or m[3] or m[4] or "") for m in _STEP.finditer(match[2])]
    if root == "state" and steps and isinstance(steps[0], str):
        root, steps = steps[0], steps[1:]
    return Placeholder(root, tuple(steps), match.start())


def check_template(template: Template, types: Mapping[str, Type]) -> Iterator[Finding]:
    """The problems of a template that may use the names in `types`."""
    size = _size_fault(template)
    if size is not None:
        yield size
        return
    for placeholder in template.placeholders:
        checked = placeholder_type(placeholder, types)
        if isinstance(checked, Finding):
            yield checked


def _size_fault(template: Template) -> Finding | None:
    if len(template.text) > MAX_LENGTH:
        message = f"the text has {len(template.text):,} characters; the limit is {MAX_LENGTH:,}"
        return Finding("template-too-large", message, MAX_LENGTH, "pass what is large as an input")
    placeholders = list(template.placeholders)
    if len(placeholders) > MAX_PLACEHOLDERS:
        message = f"the text has {len(placeholders):,} placeholders; the limit is {MAX_PLACEHOLDERS}"
        return Finding(
            "template-too-large", message, placeholders[MAX_PLACEHOLDERS].offset, "write it as several texts"
        )
    for placeholder in placeholders:
        if len(placeholder.steps) > MAX_STEPS:
            message = f"the placeholder takes {len(placeholder.steps):,} steps; the limit is {MAX_STEPS}"
            return Finding(
                "template-too-large", message, placeholder.offset, "have a node write the part to a field first"
            )
    return None


def placeholder_type(placeholder: Placeholder, types: Mapping[str, Type]) -> Type | Finding:
    """The type of the placeholder's value, or why it can't have a value. `types`: of the names that may be used."""
    kind = types.get(placeholder.root)
    if kind is None:
        inner = next((step for step in placeholder.steps if isinstance(step, str) and step in types), None)
        near = f"write {{{inner}}}" if inner is not None else did_you_mean(placeholder.root, types)
        hint = near or suggest(placeholder.root, types, "fields") + f"; for braces as text, {{{{{placeholder.root}}}"
        return Finding("unknown-field", f"no field '{placeholder.root}'", placeholder.offset + 1, hint)
    for step in placeholder.steps:
        stepped = step_type(kind, step, placeholder.offset + 1)
        if isinstance(stepped, Finding):
            return stepped
        kind = stepped
    return kind


def template_type(template: Template, types: Mapping[str, Type]) -> Type:
    """The type of `Template.value`; str if a name is unknown."""
    if len(template.parts) == 1 and isinstance(template.parts[0], Placeholder):
        checked = placeholder_type(template.parts[0], types)
        return STR if isinstance(checked, Finding) else checked
    return STR
