"""The models of a run in this process: `--model`, and canned replies for `provider: scripted`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from flowyard.errors.requests import InvalidInputs
from flowyard.language.nodes import ModelSettings
from flowyard.language.problems import did_you_mean, suggest
from flowyard.language.providers import DEFAULT_MODELS, PROVIDERS
from flowyard.language.workflow import Reply, Workflow
from flowyard.llm.scripted import load_replies


def with_model(workflow: Workflow, given: str) -> Workflow:
    """The workflow with the model `given` (PROVIDER/MODEL) in every node, without fallbacks.

    Temperature, token limit and timeout stay; the address and key of another provider don't. Raises InvalidInputs.
    """
    provider, model = read_model(given)
    nodes = {
        name: node.with_model(lambda old: _settings(old, provider, model)) for name, node in workflow.nodes.items()
    }
    # Another digest, so that a graph compiled for the old models isn't reused.
    digest = sha256(f"{workflow.digest} {provider}/{model}".encode()).hexdigest()
    return replace(workflow, nodes=nodes, digest=digest)


def read_model(given: str) -> tuple[str, str]:
    """The provider and the model of `--model PROVIDER/MODEL`. Raises InvalidInputs."""
    provider, _, model = given.partition("/")
    if provider not in PROVIDERS:
        hint = did_you_mean(provider, PROVIDERS) or "write PROVIDER/MODEL, such as ollama/llama3.2"
        raise InvalidInputs([f"--model {given}: no provider '{provider}' ({hint})"])
    model = model or DEFAULT_MODELS.get(provider, "")
    if not model:
        raise InvalidInputs([f"--model {given}: which model of {provider}? write {provider}/MODEL"])
    return provider, model


def _settings(old: ModelSettings, provider: str, model: str) -> ModelSettings:
    if old.provider == provider:
        return replace(old, model=model, price=old.price if old.model == model else None, fallbacks=())
    return ModelSettings(provider, model, temperature=old.temperature, max_tokens=old.max_tokens, timeout=old.timeout)


def replies_for(workflow: Workflow, folder: Path) -> Mapping[str, Reply | tuple[Reply, ...]] | None:
    """The canned replies of the nodes with `provider: scripted`, or None if there is none.

    The name of such a model is that of a test in the document, or of a file of replies (relative to `folder`); `tests`
    is the document's first test. Raises InvalidInputs.
    """
    scripts = {
        settings.model
        for node in workflow.nodes.values()
        for settings in node.models
        if settings.provider == "scripted"
    }
    replies: dict[str, Reply | tuple[Reply, ...]] = {}
    for script in sorted(scripts):
        replies.update(_script(workflow, script, folder))
    return replies if scripts else None


def _script(workflow: Workflow, script: str, folder: Path) -> Mapping[str, Reply | tuple[Reply, ...]]:
    for case in workflow.cases:
        if case.name == script:
            return case.replies
    if script == "tests" and workflow.cases:
        return workflow.cases[0].replies
    for path in (Path(script), folder / script):
        if path.is_file():
            return load_replies(path)
    if script == "tests":
        raise InvalidInputs(["provider 'scripted' needs the tests of the document for its replies, and it has none"])
    hint = suggest(script, [case.name for case in workflow.cases], "tests")
    raise InvalidInputs([f"scripted/{script}: neither a test of the document nor a file of replies ({hint})"])
