"""The form for a workflow's inputs: its controls, and what was typed in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from flowyard.containers import TooManyContainers, require_few_containers
from flowyard.exact_json import json_fault
from flowyard.language.inputs import check_inputs
from flowyard.language.values.types import BOOL, FLOAT, INT, STR, Choice, Nullable, core, describe, is_text
from flowyard.language.workflow import Field, Workflow
from flowyard.large_json import loads

ControlKind: TypeAlias = Literal["line", "text", "integer", "number", "checkbox", "choice", "json", "secret"]

PREFIX: Final = "input."
"""Stands before the names of inputs, so that they differ from the form's other values."""
_MAX_LINE_LENGTH: Final = 80


@dataclass(frozen=True, slots=True)
class InputControl:
    """The control for an input. `text`: its content, empty for secrets. `problem`: what is wrong with the content.

    `options`: the texts to choose from; an empty one stands for null, or for no choice yet.
    """

    name: str
    kind: ControlKind
    type: str
    required: bool
    description: str | None
    text: str
    problem: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubmittedForm:
    """A submitted form. `inputs` is complete only if `is_valid`."""

    controls: Sequence[InputControl]
    inputs: Mapping[str, Any]

    @property
    def is_valid(self) -> bool:
        return all(control.problem is None for control in self.controls)


def empty_form(workflow: Workflow) -> list[InputControl]:
    """The controls of a new form, with the inputs' defaults."""
    return [_control_of(field, _default(field)) for field in workflow.inputs.values()]


def read_form(workflow: Workflow, form: Mapping[str, str]) -> SubmittedForm:
    """Reads a submitted form. `form`: its values by name."""
    # Browsers send forms with CRLF line ends.
    texts = {name: form.get(PREFIX + name, "").replace("\r\n", "\n") for name in workflow.inputs}
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, field in workflow.inputs.items():
        try:
            value = _parse(field, texts[name])
        except ValueError as error:
            problems[name] = str(error)
        else:
            if value is not None:
                values[name] = value[0]
    inputs, faults = check_inputs(workflow.fields, values)
    for fault in faults:
        message = "This input is required." if fault.missing else fault.message.removeprefix(f"{fault.field}: ")
        problems.setdefault(fault.field, message)
    controls = [_control_of(field, texts[name], problems.get(name)) for name, field in workflow.inputs.items()]
    return SubmittedForm(controls, inputs)


def read_json(text: str) -> Any:
    """Parses JSON. Raises ValueError with a sentence for the user."""
    try:
        require_few_containers(text)
        return loads(text)
    except TooManyContainers as error:
        raise ValueError(f"This is too large: {error}.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"This isn't JSON: {json_fault(error)}.") from None
    except RecursionError:
        raise ValueError("This JSON nests too deeply.") from None


def _control_of(field: Field, text: str, problem: str | None = None) -> InputControl:
    is_nullable = isinstance(field.type, Nullable)
    return InputControl(
        name=field.name,
        kind=_control_kind(field),
        type=describe(field.type),
        required=field.required and not is_nullable,
        description=field.description,
        text="" if field.secret else text,
        problem=problem,
        options=_options(field),
    )


def _options(field: Field) -> tuple[str, ...]:
    kind = core(field.type)
    if not isinstance(kind, Choice):
        return ("", "true", "false")
    is_preselected = field.has_default and field.default is not None
    return kind.values if is_preselected and not isinstance(field.type, Nullable) else ("", *kind.values)


def _control_kind(field: Field) -> ControlKind:
    inner = core(field.type)
    if field.secret:
        return "secret"
    if isinstance(inner, Choice):
        return "choice"
    if inner != STR and is_text(inner):
        return "line"
    if inner == STR:
        default = field.default if isinstance(field.default, str) else ""
        return "line" if default and "\n" not in default and len(default) <= _MAX_LINE_LENGTH else "text"
    if inner == BOOL:
        return "choice" if isinstance(field.type, Nullable) else "checkbox"
    if inner == INT:
        return "integer"
    return "number" if inner == FLOAT else "json"


def _default(field: Field) -> str:
    if not field.has_default or field.default is None:
        return ""
    if isinstance(field.default, str) and is_text(core(field.type)):
        return field.default
    return json.dumps(field.default, indent=2, ensure_ascii=False)


def _parse(field: Field, text: str) -> tuple[Any] | None:
    """The value as a tuple; None if the control is empty, so that the default applies. Raises ValueError."""
    control = _control_kind(field)
    if control == "checkbox":
        return (text == "true",)
    if not text.strip():
        # A text with a default may be empty; a required text may not.
        if core(field.type) == STR and field.has_default and not isinstance(field.type, Nullable):
            return (text,)
        return (None,) if isinstance(field.type, Nullable) else None
    if is_text(core(field.type)):
        return (text,)
    if control in ("integer", "number"):
        return (_number(text),)
    return (read_json(text),)


def _number(text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError("This isn't a number.")
