"""Checks a run's inputs against the workflow's fields, and parses inputs from the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowyard.errors.requests import MOST, InvalidInputs
from flowyard.language.problems import suggest
from flowyard.language.values.conform import conform
from flowyard.language.values.types import Type, core, describe, is_text, type_of
from flowyard.language.workflow import Field, Workflow
from flowyard.large_json import is_light

_PER_VALUE: Final = 4
"""To check a value takes so many times as long as to encode it."""


@dataclass(frozen=True, slots=True)
class InputFault:
    """A fault in a run's inputs. `field`: the input's name; `missing`: it is required and wasn't given."""

    field: str
    message: str
    missing: bool = False


def check_inputs(fields: Mapping[str, Field], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[InputFault]]:
    """The inputs, converted to their fields' types, and all faults."""
    inputs = {name: f for name, f in fields.items() if f.is_input}
    shown = [name for name, f in inputs.items() if not f.hidden]
    checked: dict[str, Any] = {}
    faults: list[InputFault] = []
    for name, value in given.items():
        if name in inputs:
            problems: list[str] = []
            checked[name] = conform_field(inputs[name], value, problems)
            faults.extend(InputFault(name, problem) for problem in problems)
        else:
            reason = "is written by the workflow, so it isn't an input" if name in fields else "isn't known"
            # To look for similar names takes time.
            hint = f" ({suggest(name, shown, 'inputs')})" if len(faults) < MOST else ""
            faults.append(InputFault(name, f"{name}: {reason}{hint}"))
    for name, f in inputs.items():
        if f.required and name not in given:
            description = describe(f.type) + (f", {f.description}" if f.description else "")
            faults.append(InputFault(name, f"{name}: missing ({description})", missing=True))
    return checked, faults


def are_large(given: Mapping[str, Any]) -> bool:
    """Whether to check them would hold an event loop."""
    return not is_light(given, times=_PER_VALUE)


def conform_field(f: Field, value: Any, problems: list[str]) -> Any:
    """The value, converted to the field's type. Appends to `problems`, whose texts never contain a secret."""
    if f.secret and not isinstance(value, str):
        # The usual message would contain the value: a secret, although it isn't a text.
        problems.append(f"{f.name}: expected {describe(f.type)}, got {type_of(value)}")
        return value
    return conform(f.type, value, f.name, problems)


def valid_inputs(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs for a run of `workflow`. Raises InvalidInputs with all faults."""
    checked, faults = check_inputs(workflow.fields, given)
    if faults:
        raise InvalidInputs([fault.message for fault in faults])
    return checked


def input_from_text(kind: Type, text: str) -> Any:
    """The value of `-i name=text` for a field of type `kind`. An invalid text stays a text: check_inputs reports it."""
    if is_text(core(kind)):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
