"""The document of the assistant, which writes workflows: an ordinary chat workflow, made for one installation."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from flowyard.drafts.keys import described_keys
from flowyard.language.installation import Installation
from flowyard.language.nodes import ModelSettings
from flowyard.language.reading.document import UNSUPPORTED, document_schema
from flowyard.language.values.functions import FUNCTIONS

NAME: Final = "assistant"
LONGEST_REPLY: Final = 16_000
"""Tokens of a reply, with those that a model thinks: a document of some hundred lines."""
SURE_REPLY: Final = 8000
"""Tokens that any large model can reply with."""
_CALLS: Final = 6
_MOST_TOOLS: Final = 60
_TOKENS: Final = 1_000_000
"""Of a run, if the price of the model isn't known. What a call may use at most is reserved: a token per byte."""
_LEFT_OUT: Final = frozenset({
    "config.sandbox",
    "schema_version", "flow.version", "flow.author", "nodes.name", "nodes.output_schema", "nodes.llm.fallbacks",
    "nodes.llm.extra", "nodes.llm.json", "nodes.log_prompts", "config.execution.durability", "edges.condition",
    "edges.routes.condition", "edges.loop.condition_field", "triggers.chat.background",
})  # fmt: skip
"""Keys that no first draft needs, and those that say the same as others."""
_PLACE: Final = re.compile(r"\b(FUNCTIONS|MISSING|KEYS|LLM|BUDGET|INSTALLATION)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the model knows of an installation: names, never values. `models`: such as `openai/gpt-5`.

    `variables`: patterns of the names of environment variables that documents may name; `hook_variables`: for webhooks.
    `tools`: those that aren't denied; with `*` after the name, if they need permission.
    """

    models: Sequence[str] = ()
    variables: str = ""
    hook_variables: str = ""
    tools: Sequence[str] = ()

    @classmethod
    def of(cls, installation: Installation, models: Sequence[str]) -> Facts:
        rules, known = installation.tool_rules, installation.tools or {}
        answers = {name: rules.answer(name) for name in sorted(known)}
        return cls(
            models=models,
            variables=str(installation.variables),
            hook_variables=str(installation.hook_variables),
            tools=[
                f"{name}*" if known[name].needs_permission and answer != "allow" else name
                for name, answer in answers.items()
                if answer != "deny"
            ],
        )


def assistant_document(model: ModelSettings, facts: Facts, *, usd: str | None, longest: int | None = None) -> str:
    """The document as text. `usd`: most that a turn may cost, in US dollars; None: the model's price isn't known.

    `longest`: most tokens of the model's replies, if that is known.
    """
    most = min(longest, LONGEST_REPLY) if longest is not None else SURE_REPLY
    limit: Mapping[str, Any] = {"usd": float(usd)} if usd is not None else {"tokens": _TOKENS}
    settings: Mapping[str, Any] = {"provider": model.provider, "model": model.model, "max_tokens": most}
    # JSON is YAML, and what stands in it can't change the rest of the document.
    values = {
        "default: GUIDE": "default: |\n" + textwrap.indent(guide(model, facts, usd=usd), " " * 8).rstrip(),
        "llm: MODEL": f"llm: {json.dumps(settings)}",
        "budget: BUDGET": f"budget: {json.dumps({**limit, 'model_calls': _CALLS})}",
    }
    text = files("flowyard.drafts").joinpath("assistant.yaml").read_text(encoding="utf-8")
    for place, value in values.items():
        text = text.replace(place, value, 1)
    return text


def guide(model: ModelSettings, facts: Facts, *, usd: str | None) -> str:
    """The system message: the language in few words, examples, and the names that the installation knows."""
    values = {
        "FUNCTIONS": ", ".join(f"{name}()" for name in FUNCTIONS),
        "MISSING": ", ".join(sorted({name for keys in UNSUPPORTED.values() for name in keys.values()})),
        "KEYS": _keys(),
        "LLM": json.dumps({"provider": model.provider, "model": model.model, "max_tokens": 500}),
        "BUDGET": "{model_calls: 4, usd: 0.05}" if usd is not None else "{model_calls: 4}",
        "INSTALLATION": "\n".join(_known(str(model), facts)),
    }
    text = files("flowyard.drafts").joinpath("guide.md").read_text(encoding="utf-8")
    # In one pass: what is filled in may have these words, too.
    return _PLACE.sub(lambda match: values[match[0]], text)


@cache
def _keys() -> str:
    return described_keys(document_schema(), without=_LEFT_OUT)


def _known(model: str, facts: Facts) -> list[str]:
    others = [name for name in facts.models if name != model]
    also = f" Others that it knows: {', '.join(others)}." if others else ""
    lines = [
        f"- Models: write `provider` and `model` of {model} into config.llm, unless the person names another.{also}"
    ]
    if facts.variables:
        lines.append(
            f"- `api_key_env` and ${{env:NAME}} may name: {facts.variables}; in webhooks: {facts.hook_variables}."
        )
    lines.append(_tools(facts.tools))
    return lines


def _tools(names: Sequence[str]) -> str:
    """Cut after so many that the rest of the guide still counts."""
    if not names:
        return "- It has no tools."
    shown = ", ".join(names[:_MOST_TOOLS]) + (", and others" if len(names) > _MOST_TOOLS else "")
    return (
        f"- Tools, for `tools` of a prompt node, or `tool` with `with`: {shown}. Write one with a * as"
        " `{http.get: {allow: ['https://example.com/*']}}`, with as little as is needed."
    )
