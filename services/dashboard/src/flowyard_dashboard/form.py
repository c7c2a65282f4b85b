"""A workflow's inputs as a form: what is asked, what was typed, what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from flowyard.language.inputs import check_inputs
from flowyard.language.values.types import BOOL, FLOAT, INT, STR, Nullable, describe, without_null
from flowyard.language.workflow import Field, Workflow

Control: TypeAlias = Literal["line", "text", "whole", "number", "box", "choice", "json", "secret"]

PREFIX: Final = "input."
"""Before the name of a field, so that the form's own fields have names of their own."""
_LONGEST_LINE: Final = 80


@dataclass(frozen=True, slots=True)
class Asked:
    """One input. `typed` is what is in its control now, but for secrets, which aren't sent back; `problem`: what is
    wrong with that."""

    name: str
    control: Control
    type: str
    required: bool
    nullable: bool
    description: str | None
    typed: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """A form that came back. `inputs` is complete only if `is_valid`."""

    asked: Sequence[Asked]
    inputs: Mapping[str, Any]

    @property
    def is_valid(self) -> bool:
        return all(one.problem is None for one in self.asked)


def empty_form(workflow: Workflow) -> list[Asked]:
    """With the defaults filled in."""
    return [_asked(field, _default(field)) for field in workflow.inputs.values()]


def read_form(workflow: Workflow, typed: Mapping[str, str]) -> Filled:
    """`typed`: the form's values by their names."""
    texts = {name: _as_typed(typed.get(PREFIX + name, "")) for name in workflow.inputs}
    given: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, field in workflow.inputs.items():
        try:
            read = _read(field, texts[name])
        except ValueError as error:
            problems[name] = str(error)
        else:
            if read is not None:
                given[name] = read[0]
    inputs, faults = check_inputs(workflow.fields, given)
    for fault in faults:
        message = "This is needed." if fault.missing else fault.message.removeprefix(f"{fault.field}: ")
        problems.setdefault(fault.field, message)
    asked = [_asked(field, texts[name], problems.get(name)) for name, field in workflow.inputs.items()]
    return Filled(asked, inputs)


def read_json(text: str) -> Any:
    """Raises ValueError with a sentence for who typed it."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"This isn't JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise ValueError("This nests too deeply.") from None


def _asked(field: Field, typed: str, problem: str | None = None) -> Asked:
    is_nullable = isinstance(field.type, Nullable)
    return Asked(
        field.name,
        _control(field),
        describe(field.type),
        field.required and not is_nullable,
        is_nullable,
        field.description,
        "" if field.secret else typed,
        problem,
    )


def _control(field: Field) -> Control:
    inner = without_null(field.type)
    if field.secret:
        return "secret"
    if inner == STR:
        default = field.default if isinstance(field.default, str) else ""
        return "line" if default and "\n" not in default and len(default) <= _LONGEST_LINE else "text"
    if inner == BOOL:
        return "choice" if isinstance(field.type, Nullable) else "box"
    if inner == INT:
        return "whole"
    return "number" if inner == FLOAT else "json"


def _default(field: Field) -> str:
    if not field.has_default or field.default is None:
        return ""
    if isinstance(field.default, str) and without_null(field.type) == STR:
        return field.default
    return json.dumps(field.default, indent=2, ensure_ascii=False)


def _read(field: Field, text: str) -> tuple[Any] | None:
    """The value; None: nothing was given, so that the default counts. Raises ValueError."""
    control = _control(field)
    if control == "box":
        return (text == "true",)
    if not text.strip():
        # A text that has a default may be emptied; one that is needed may not be left empty.
        if without_null(field.type) == STR and field.has_default and not isinstance(field.type, Nullable):
            return (text,)
        return (None,) if isinstance(field.type, Nullable) else None
    if control in ("line", "text", "secret"):
        return (text,)
    if control in ("whole", "number"):
        return (_number(text),)
    return (read_json(text),)


def _number(text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError("This isn't a number.")


def _as_typed(text: str) -> str:
    """Forms are sent with the line ends of 1980."""
    return text.replace("\r\n", "\n")
