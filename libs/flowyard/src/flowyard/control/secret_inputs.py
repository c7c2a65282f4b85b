"""Secret inputs of a request: refused while masked, and sealed before they are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flowyard.control.parts import Control
from flowyard.errors.requests import InvalidInputs
from flowyard.errors.runs import SecretsNotConfigured
from flowyard.language.inputs import valid_inputs
from flowyard.language.workflow import Workflow
from flowyard.secrets.masking import MASK
from flowyard.secrets.sealing import SecretBox


def new_inputs(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a new run, not yet sealed. Raises InvalidInputs."""
    inputs = valid_inputs(workflow, given)
    masked = [
        f"{name}: '{MASK}' is what a secret is shown as, not its value"
        for name in inputs
        if _is_masked(workflow, name, inputs)
    ]
    if masked:
        raise InvalidInputs(masked)
    return inputs


def without_masked(workflow: Workflow, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a fork is to change. A secret that comes back masked isn't among them: it keeps its value."""
    return {name: value for name, value in given.items() if not _is_masked(workflow, name, given)}


def _is_masked(workflow: Workflow, name: str, given: Mapping[str, Any]) -> bool:
    return name in workflow.secrets and given[name] == MASK


def seal_inputs(
    control: Control, workflow: Workflow, values: Mapping[str, Any], names: Collection[str] | None = None
) -> dict[str, Any]:
    """The values, those of secret fields sealed; with `names` only those: all other secrets are already sealed.

    Raises SecretsNotConfigured.
    """
    new = [name for name in values if name in workflow.secrets and (names is None or name in names)]
    if not new:
        return dict(values)
    box = box_for(control, workflow)
    return {**values, **{name: box.seal(values[name], workflow=workflow.name, name=name) for name in new}}


def box_for(control: Control, workflow: Workflow) -> SecretBox:
    """Raises SecretsNotConfigured if there is no key. `workflow`: for the message."""
    if control.box is None:
        raise SecretsNotConfigured(workflow.name)
    return control.box
