"""Secret inputs on their way in: from here on they are sealed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flowyard.control.parts import Control
from flowyard.errors import InvalidInputs, SecretsNotConfigured
from flowyard.language.inputs import valid_inputs
from flowyard.language.workflow import Workflow
from flowyard.masking import MASK
from flowyard.sealing import Box


def new_inputs(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a new run, not yet sealed. Raises InvalidInputs."""
    inputs = valid_inputs(workflow, given)
    stars = [
        f"{name}: '{MASK}' is how it is shown, not what it is"
        for name in inputs
        if is_untouched(workflow, name, inputs)
    ]
    if stars:
        raise InvalidInputs(stars)
    return inputs


def touched(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a fork is to change, all but the secrets that came back as they are shown: those stay."""
    return {name: value for name, value in given.items() if not is_untouched(workflow, name, given)}


def is_untouched(workflow: Workflow, name: str, given: Mapping[str, Any]) -> bool:
    return name in workflow.secrets and given[name] == MASK


def sealed(
    control: Control, workflow: Workflow, values: Mapping[str, Any], names: Collection[str] | None = None
) -> dict[str, Any]:
    """The values, those of secret fields sealed. `names`: of the others it is known that they are.

    Raises SecretsNotConfigured.
    """
    new = [name for name in values if name in workflow.secrets and (names is None or name in names)]
    if not new:
        return dict(values)
    box = box_for(control, workflow)
    return {**values, **{name: box.seal(values[name], workflow=workflow.name, name=name) for name in new}}


def box_for(control: Control, workflow: Workflow) -> Box:
    """Raises SecretsNotConfigured."""
    if control.box is None:
        raise SecretsNotConfigured(workflow.name)
    return control.box
