"""The workflow that answers questions about runs: shipped as a document, and given to a stack that doesn't have it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from flowyard.api.client import Client
from flowyard.api.refusals import Refused
from flowyard.api.runs import RunView
from flowyard.api.workflows import WorkflowDetail
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs, UnknownWorkflow
from flowyard.language.nodes import ModelSettings
from flowyard_cli.asking.documents import workflow_of
from flowyard_cli.show.dim import say_dim

NAME: Final = "ask"
LOCAL_BYTES: Final = 12_000
"""Facts that the small local model can take: it has a context of 8,192 tokens."""
_NEEDED: Final = frozenset({"messages", "facts"})
_LOCAL: Final = "local/"
_LLM: Final = re.compile(r"^  llm: .*$", re.MULTILINE)


class NotOurWorkflow(FlowyardError, code="other_workflow"):
    """A workflow of the stack has the name of ours, and isn't for these questions."""

    def __init__(self) -> None:
        inputs = " and ".join(sorted(_NEEDED))
        super().__init__(
            f"the stack's workflow '{NAME}' doesn't answer questions about runs: it lacks the inputs {inputs};"
            " give it another name, so that flowyard ask can apply its own"
        )


def prepare(client: Client, run: RunView, *, model: str | None) -> str:
    """Applies the workflow if the stack doesn't have it, or if `model` (PROVIDER/MODEL) is given. Returns its model.

    Without `model`, it gets that of the run's workflow. Raises NotOurWorkflow, and what Client raises.
    """
    present = _present(client)
    if present is not None and not {field.name for field in present.inputs} >= _NEEDED:
        raise NotOurWorkflow
    if present is None or model is not None:
        llm = _llm(client, run, model)
        say_dim(applying(NAME, f"{llm['provider']}/{llm['model']}", is_there=present is not None))
        client.apply(NAME, document(llm).encode())
        present = client.workflow(NAME)
    return next((node.model for node in present.graph.nodes if node.model is not None), _LOCAL)


def applying(name: str, model: str, *, is_there: bool) -> str:
    """Said before a workflow is applied, so that an error is about that. `is_there`: the stack has it already."""
    why = "has another model" if is_there else "isn't on the stack yet"
    return f"the workflow '{name}' {why}: it is applied, to ask {model}"


def room_for(model: str) -> int | None:
    """How many bytes of facts a model can take; None: as many as there may be."""
    return LOCAL_BYTES if model.startswith(_LOCAL) else None


def document(llm: Mapping[str, Any] | None = None) -> str:
    """The document that is shipped, with these settings of the model."""
    text = files("flowyard_cli").joinpath("ask.yaml").read_text(encoding="utf-8")
    # JSON is YAML, too.
    return text if llm is None else _LLM.sub(lambda _: f"  llm: {json.dumps(llm, ensure_ascii=False)}", text, count=1)


def _present(client: Client) -> WorkflowDetail | None:
    try:
        return client.workflow(NAME)
    except Refused as error:
        if error.code != UnknownWorkflow.code:
            raise
        return None


def _llm(client: Client, run: RunView, given: str | None) -> dict[str, Any]:
    """The settings of a model. Raises InvalidInputs."""
    own = _model_of(client, run)
    if given is None:
        if own is None:
            return {"provider": "local", "model": "smollm2-135m"}
        if own.provider == "scripted":
            raise InvalidInputs([f"{run.workflow} has canned replies and no model: name one with --model"])
        return _settings(own, own.model)
    provider, slash, name = given.partition("/")
    if not provider or not slash or not name:
        raise InvalidInputs([f"--model {given}: write PROVIDER/MODEL, such as ollama/llama3.2"])
    if own is not None and own.provider == provider:
        return _settings(own, name)
    return {"provider": provider, "model": name}


def _settings(own: ModelSettings, name: str) -> dict[str, Any]:
    """The address and the key of the provider, and the price if it is the same model."""
    settings: dict[str, Any] = {"provider": own.provider, "model": name}
    if own.api_base is not None:
        settings["api_base"] = own.api_base
    if own.api_key_env is not None:
        settings["api_key_env"] = own.api_key_env
    if own.extra:
        settings["extra"] = dict(own.extra)
    price = own.price if name == own.model else None
    if price is not None:
        amounts = {"input": price.input, "output": price.output, "cached_input": price.cached_input}
        settings["price"] = {key: float(usd) for key, usd in amounts.items() if usd is not None}
    return settings


def _model_of(client: Client, run: RunView) -> ModelSettings | None:
    """The first model of the run's workflow; None: it has none, or its document can't be read any more."""
    try:
        workflow = workflow_of(client.revision(run.workflow, run.revision).document)
    except Refused:
        return None
    return next(iter(workflow.models), None) if workflow is not None else None
